"""The auctioneer: takes start requests of a BBS and finds a cell for each.

``types`` is what travels between BBS, auctioneer and rep; ``schedule`` decides and touches nothing;
``runner`` is the batch cycle around it; ``server`` is the HTTP door.
"""
