"""Shared parts of the commands that call a BBS.

``target`` finds the BBS, ``session`` makes the calls and reports failures, ``output`` and ``tables`` print
results. No module here imports the container engine, and slow imports are deferred.
"""
