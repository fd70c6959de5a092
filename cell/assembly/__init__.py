"""Assembly of a cell agent: composition, log, console, locks, signals."""
