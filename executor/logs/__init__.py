"""App logs: process output split into lines, rate limited, and sent to log sinks."""
