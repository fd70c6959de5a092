"""Accept rules in the engine's firewall, which drops forwarded packets of other networks.

The engine reserves one chain for users. If the chain exists, packets of our links are accepted in it,
because our own table has already filtered them.
"""

from __future__ import annotations

import asyncio
import logging
import shlex

from executor.errors import NetworkError

logger = logging.getLogger(__name__)

CHAIN = "DOCKER-USER"


def accept_rules(port_prefix: str) -> tuple[tuple[str, ...], ...]:
    """iptables arguments after ``-I CHAIN``: in and out of our links."""
    return tuple((direction, f"{port_prefix}+", "-j", "ACCEPT") for direction in ("-i", "-o"))


class EngineFirewall:
    """Our rules in the engine's user chain."""

    def __init__(self, port_prefix: str, *, ipv6: bool = False) -> None:
        """ipv6: whether containers have IPv6."""
        self._rules = accept_rules(port_prefix)
        self._programs = ("iptables", "ip6tables") if ipv6 else ("iptables",)

    async def open(self) -> bool:
        """Add missing rules; return whether any was missing. Does nothing if the engine keeps no firewall.

        Raises NetworkError.
        """
        return any([await self._open(program) for program in self._programs])

    async def close(self) -> None:
        """Remove the rules, including duplicates. Raises NetworkError."""
        for program in self._programs:
            for rule in self._rules:
                while (await _run(program, "-C", CHAIN, *rule))[0]:
                    await _run_checked(program, "-D", CHAIN, *rule)

    async def _open(self, program: str) -> bool:
        present, rules = await _run(program, "-S", CHAIN)
        if not present:
            return False
        there = {line.strip() for line in rules.splitlines()}
        missing = [rule for rule in self._rules if f"-A {CHAIN} {shlex.join(rule)}" not in there]
        for rule in missing:
            await _run_checked(program, "-I", CHAIN, *rule)
        return bool(missing)


async def _run_checked(program: str, *arguments: str) -> None:
    done, text = await _run(program, *arguments)
    if not done:
        raise NetworkError(f"{program} {shlex.join(arguments)}: {text}")


async def _run(program: str, *arguments: str) -> tuple[bool, str]:
    """Whether the program succeeded, and its output. Raises NetworkError if the program is missing."""
    try:
        process = await asyncio.create_subprocess_exec(
            program, "-w", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise NetworkError(f"{program}: {error.strerror}; install the Debian package iptables") from error
    output, _ = await process.communicate()
    return process.returncode == 0, output.decode(errors="replace").strip()
