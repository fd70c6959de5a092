"""Child bodies of the built-in transfers. The children import the transfer modules."""

from __future__ import annotations

from collections.abc import Callable


def scp_body(command: str) -> Callable[[], int]:
    def run() -> int:
        from sshd.scp.program import run_command

        return run_command(command)

    return run


def sftp_body() -> Callable[[], int]:
    def run() -> int:
        from sshd.sftp.server import serve

        return serve()

    return run
