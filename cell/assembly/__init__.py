"""The agent put together: composition of a cell, its log, console, locks and signals."""
