"""Metrics of the cell and its apps."""
