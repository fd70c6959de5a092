"""HTTP serving for untrusted peers: addresses, listeners, limits and access rules.

Control plane and rep use the same modules. Each bounds one kind of input. ``connections`` bounds the number
of connections and the time of slow clients. ``bodies`` bounds the memory of request bodies. ``events`` bounds
the memory of endless responses. ``access`` is the rule of listeners without TLS.
"""
