"""The commands of `cell`: one module for each word that people type."""
