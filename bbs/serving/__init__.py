"""Serving HTTP to peers that cannot be trusted: addresses, listeners, bounds, and who may ask.

Control plane and rep serve with the same modules. Each one bounds a kind of input: ``connections`` the
connections and the time a client may take, ``bodies`` the memory of request bodies, ``events`` the memory of
a response that never ends, ``door`` who may ask on a listener without TLS.
"""
