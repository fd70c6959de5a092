"""Parts that the commands which ask a BBS share.

``target`` finds the BBS, ``session`` makes the calls and reports failures, ``output`` and ``tables`` show
results. Nothing here imports the container engine, and slow imports wait until they are needed.
"""
