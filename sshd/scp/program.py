"""One ``scp`` command, carried out on standard input and output."""

from __future__ import annotations

from sshd.scp.peer import Peer
from sshd.scp.source import send_all
from sshd.scp.target import receive_all
from sshd.scp.words import UsageError, parse_command

FAILED = 1


def run_command(line: str) -> int:
    """Exit status of the command; a command line that makes no sense is not explained to anybody."""
    try:
        options = parse_command(line)
    except UsageError:
        return FAILED
    transfer = receive_all if options.target else send_all
    try:
        return 0 if transfer(Peer(), options) else FAILED
    except OSError:  # the client is gone
        return FAILED
