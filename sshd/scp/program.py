"""One ``scp`` command, run on standard input and output."""

from __future__ import annotations

from sshd.scp.peer import Peer
from sshd.scp.source import send_all
from sshd.scp.target import receive_all
from sshd.scp.words import UsageError, parse_command

FAILED = 1


def run_command(line: str) -> int:
    """Run the command and return its exit status. An invalid command line gets no error text."""
    try:
        options = parse_command(line)
    except UsageError:
        return FAILED
    transfer = receive_all if options.target else send_all
    try:
        return 0 if transfer(Peer(), options) else FAILED
    except OSError:  # the client is gone
        return FAILED
