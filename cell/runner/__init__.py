"""``cell run``: one workload in one fresh container, watched closely.

What happens becomes small typed events (``events``); everything people and programs see - the terminal's
tree, JSON lines, a trace, a JUnit report - is a view of them.
"""
