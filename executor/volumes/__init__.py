"""Volumes: external directories mounted into containers.

api         interface for the creation of containers
specs       discovery of drivers in directories of the host
plugin      client of one driver, over HTTP or a unix socket
binds       built-in driver: host directories that the operator allows
manager     drivers of a cell: discovery, mount, unmount
"""
