"""The way through the engine's firewall: it drops what is forwarded and not its own.

The engine leaves one chain to its users. Where it exists, packets of our links are accepted there: our own
table has judged them before.
"""

from __future__ import annotations

import asyncio
import logging
import shlex

from executor.errors import NetworkError

logger = logging.getLogger(__name__)

CHAIN = "DOCKER-USER"


def accept_rules(port_prefix: str) -> tuple[tuple[str, ...], ...]:
    """Arguments of iptables behind ``-I CHAIN``: in and out of our links."""
    return tuple((direction, f"{port_prefix}+", "-j", "ACCEPT") for direction in ("-i", "-o"))


class EngineFirewall:
    """Our rules in the engine's user chain."""

    def __init__(self, port_prefix: str) -> None:
        self._rules = accept_rules(port_prefix)

    async def open(self) -> bool:
        """Add what is missing; whether anything was. Nothing where the engine keeps no firewall.

        Raises NetworkError.
        """
        present, rules = await _iptables("-S", CHAIN)
        if not present:
            return False
        there = {line.strip() for line in rules.splitlines()}
        missing = [rule for rule in self._rules if f"-A {CHAIN} {shlex.join(rule)}" not in there]
        for rule in missing:
            done, text = await _iptables("-I", CHAIN, *rule)
            if not done:
                raise NetworkError(f"iptables -I {CHAIN} {shlex.join(rule)}: {text}")
        return bool(missing)

    async def close(self) -> None:
        """Remove them, however often they are there. Raises NetworkError."""
        for rule in self._rules:
            while (await _iptables("-C", CHAIN, *rule))[0]:
                done, text = await _iptables("-D", CHAIN, *rule)
                if not done:
                    raise NetworkError(f"iptables -D {CHAIN} {shlex.join(rule)}: {text}")


async def _iptables(*arguments: str) -> tuple[bool, str]:
    """Whether it succeeded, and what it said. Raises NetworkError where there is no iptables."""
    try:
        process = await asyncio.create_subprocess_exec(
            "iptables", "-w", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise NetworkError(f"iptables: {error.strerror}; install the Debian package iptables") from error
    said, _ = await process.communicate()
    return process.returncode == 0, said.decode(errors="replace").strip()
