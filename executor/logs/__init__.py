"""From the output of processes to log lines, within limits, to wherever logs go."""
