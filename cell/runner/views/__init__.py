"""What people and programs get to see of a run: each module is one view of the same events."""
