"""The commands of `cell`: one module per command."""
