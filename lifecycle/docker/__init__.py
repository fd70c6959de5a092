"""Lifecycle programs of Docker image apps."""
