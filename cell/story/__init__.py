"""The story of a container: its moves and the progress of its steps, for views of it."""
