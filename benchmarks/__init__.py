"""Benchmarks of what is promised in SPECIFICATION.md: ``python -m benchmarks`` runs all of them."""
