"""Fixtures of the hostile tests: one module per kind of fault or attack, on real parts."""
