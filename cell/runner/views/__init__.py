"""Views of a run: each module presents the same events in one form."""
