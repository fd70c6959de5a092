"""The store: the SQLite database, its tables, and the records in them."""
