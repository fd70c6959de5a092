"""The Receptor REST API of 2015 as a facade over today's BBS.

It asks a BBS over the wire like any other client and keeps nothing itself: plain JSON in and out, the old
routes, status codes and error names.
"""
