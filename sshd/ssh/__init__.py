"""The SSH stack of both programs: asyncssh's transport and authentication under our connection protocol.

``library`` imports asyncssh and must be imported before any other module does. Only ``transport`` and
``endpoints`` use private names of asyncssh.
"""

from sshd.ssh import library as library
