"""The BBS over HTTP: one module per topic holds its handlers, ``app`` puts them on the shared route table."""
