"""Metrics for Prometheus: families, their values, and the text that a scrape gets."""
