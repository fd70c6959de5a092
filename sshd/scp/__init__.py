"""The built-in ``scp``: the far end of a stock client's old protocol."""
