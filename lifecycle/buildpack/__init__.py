"""Lifecycle programs of buildpack apps."""
