"""``cell run``: one workload in one new container, with full observation.

A run produces small typed events (``events``). The terminal's tree, JSON lines, trace and JUnit report are
views of these events.
"""
