"""Readings of what containers use (control groups, disk), and the limits that are watched by them."""
