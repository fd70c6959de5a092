"""Instance identity: a key and a certificate per container, renewed for as long as it lives.

profile     what a certificate says, and when it is renewed (pure)
authority   the cell's signing CA
keys        private keys, made ahead of need in a thread
files       what the container sees
instances   the above for the containers of a cell
"""
