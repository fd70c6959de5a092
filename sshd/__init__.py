"""SSH into a container: ``diego-sshd``, which runs inside it, and ``ssh-proxy``, the public entry point.

``sshd.program`` is the daemon's start and its listener: no library, a few megabytes. Connections are served
by a second process that it starts when one waits (``sshd.daemon``). ``sshd.proxy`` is the proxy. Both share
``sshd.ssh``: asyncssh does key exchange, encryption and authentication; the connection protocol above it (RFC
4254) is ours, because its details are what both programs are about.
"""
