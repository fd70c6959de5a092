"""The Receptor REST API of 2015 as a facade over the current BBS.

It calls a BBS over HTTP like any client and stores nothing: plain JSON, the old routes, status codes and
error names.
"""
