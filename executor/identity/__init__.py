"""Instance identity: a key and a certificate per container, renewed until it ends.

profile     certificate contents and renewal times (pure)
authority   the cell's signing CA
keys        pool of pre-generated private keys
files       credential files on the host
instances   identities of a cell's containers
"""
