"""Commands that ask a BBS: what runs where, and run this.

Each module is one command; they share where the BBS is (``target``), how results are shown (``output``,
``tables``) and how failures are told (``session``). Nothing here imports the container engine, and what
takes long to import waits until it is needed.
"""
