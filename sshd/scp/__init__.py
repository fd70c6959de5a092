"""The built-in ``scp``: the remote side of the old scp protocol."""
