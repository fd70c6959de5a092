"""Entry point of the worker process: builds the worker from the listener's plain values and runs it."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from sshd.daemon.settings import Settings
from sshd.daemon.worker import Worker
from sshd.preparation import Prepared
from sshd.records import ERROR, Records
from sshd.ssh.algorithms import algorithms


def settings(prepared: Prepared) -> Settings:
    key = prepared["authorized_key"]
    return Settings(
        host_key=str(prepared["host_key"]),
        authorized_key=key if isinstance(key, bytes) else None,
        allow_unauthenticated=bool(prepared["allow_unauthenticated"]),
        inherit_environment=bool(prepared["inherit_environment"]),
        algorithms=algorithms(
            str(prepared["ciphers"]),
            str(prepared["macs"]),
            str(prepared["key_exchanges"]),
            str(prepared["host_key_algorithms"]),
        ),
    )


def run(prepared: Prepared, listening: socket.socket, alive: int) -> int:
    """Serve until no client is connected. The process exits at once when the pipe ``alive`` closes."""
    records = Records("sshd", int(str(prepared["log_level"])), bool(prepared["rfc3339"]))
    asyncio.run(_serve(settings(prepared), listening, alive, records))
    records.close()
    return 0


async def _serve(wanted: Settings, listening: socket.socket, alive: int, records: Records) -> None:
    loop = asyncio.get_running_loop()
    loop.add_reader(alive, os._exit, 0)

    def unexpected(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or context.get("message")
        records.write(ERROR, "server.unexpected-error", error=repr(error))

    loop.set_exception_handler(unexpected)
    await Worker(wanted).serve(listening)
