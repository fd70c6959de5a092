"""The auctioneer: accepts start requests of a BBS and places each on a cell.

``schedule`` makes the placement decision without side effects. ``runner`` is the batch cycle around it.
``server`` is the HTTP API.
"""
