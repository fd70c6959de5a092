"""Decisions on records: pure functions from rows and a call to new rows, events and auctions."""
