"""SSH into a container: ``diego-sshd``, which runs inside it, and ``ssh-proxy``, the public entry point.

``sshd.program`` starts the daemon and owns its listener; it imports no library and uses a few megabytes. A
second process, started when a connection waits, serves the connections (``sshd.daemon``). ``sshd.proxy`` is
the proxy. Both share ``sshd.ssh``: asyncssh does key exchange, encryption and authentication. The connection
protocol above it (RFC 4254) is our own, because both programs need control of its details.
"""
