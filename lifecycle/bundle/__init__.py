"""Build of the relocatable bundle with the in-container programs; it runs on the host."""
