"""The ``sftp`` subsystem: protocol version 3 on standard input and output."""
