"""SSH as both programs speak it: asyncssh's transport and authentication, our connection protocol on top.

``library`` imports asyncssh, which has to happen before any other module does; ``transport`` is the one
module that uses names of asyncssh that are not public.
"""

from sshd.ssh import library as library
