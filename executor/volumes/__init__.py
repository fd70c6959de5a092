"""Volumes: directories that something else provides, mounted into containers.

api         what the creation of a container sees
specs       how drivers announce themselves in directories of the host
plugin      one driver, over HTTP or a unix socket
binds       the built-in driver: host directories the operator allows
manager     the drivers of a cell: discovery, mounting, giving back
"""
