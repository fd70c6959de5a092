"""What a support bundle consists of: one text per part, each bounded in time and size.

A part that cannot be had says why, and the others are there all the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bbs.client.transport import UnansweredError
from cell.assembly import configcheck
from cell.client.admin import Rep
from cell.client.session import ComponentFailed
from cell.client.target import BadArguments
from cell.support.scrubbing import Scrubber
from executor.engine.createrequest import LABEL_CELL, LABEL_GUID
from rep.config import RepConfig

PART_LIMIT_S: Final = 20.0
PART_BYTES: Final = 8 << 20
"""Most of a part; the beginning of a longer one is left out, because the end is the latest."""
CONTAINER_FORMAT: Final = (
    f'{{{{.Label "{LABEL_GUID}"}}}}\t{{{{.State}}}}\t{{{{.Status}}}}\t{{{{.Image}}}}\t{{{{.Size}}}}'
)
ENGINE_FORMAT: Final = (
    "{{json .ServerVersion}} {{json .Driver}} {{json .CgroupDriver}} {{json .CgroupVersion}}"
    " {{json .ContainersRunning}} {{json .LiveRestoreEnabled}} {{json .Warnings}}"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """The cell that a bundle is about. unit: its service. lines: most lines of the log."""

    path: Path
    config: RepConfig
    rep: Rep
    unit: str
    lines: int


class NotCollected(Exception):
    """Why a part cannot be had."""


async def collect(subject: Subject, scrubber: Scrubber, versions: Mapping[str, str]) -> dict[str, str]:
    """The parts by file name."""
    config = subject.config
    parts: Mapping[str, Callable[[], Awaitable[str]]] = {
        "versions.json": lambda: _as_json(versions),
        "system.txt": lambda: _commands(
            ("cat", "/etc/os-release"),
            ("uname", "-a"),
            ("uptime",),
            ("free", "-m"),
            ("df", "-h", config.state_dir, config.cache_path),
        ),
        "configuration.json": lambda: _configuration(config, scrubber),
        "configuration-problems.txt": lambda: _problems(subject, scrubber),
        "service.txt": lambda: _service(subject.unit, scrubber),
        "log.jsonl": lambda: _log(subject, scrubber),
        "outcomes.json": lambda: _asked(subject.rep, "/outcomes", "outcomes", scrubber),
        "orphans.json": lambda: _asked(subject.rep, "/orphans", "orphans", scrubber),
        "engine.txt": lambda: _commands(("docker", "info", "--format", ENGINE_FORMAT)),
        "containers.txt": lambda: _containers(config),
        "packet-table.txt": lambda: _commands(("nft", "list", "table", "inet", config.nft_table)),
        "network.txt": lambda: _commands(
            ("ip", "-brief", "address"), ("ip", "-stats", "link"), ("ip", "route"), ("ip", "-6", "route")
        ),
    }
    texts = await asyncio.gather(*map(_part, parts.values()))
    return dict(zip(parts, texts, strict=True))


async def _part(collected: Callable[[], Awaitable[str]]) -> str:
    try:
        async with asyncio.timeout(PART_LIMIT_S):
            text = await collected()
    except TimeoutError:
        return f"not collected: it took more than {PART_LIMIT_S:g} s\n"
    except (NotCollected, OSError, ComponentFailed, BadArguments, UnansweredError) as error:
        return f"not collected: {error}\n"
    data = text.encode("utf-8", "replace")
    return data[-PART_BYTES:].decode("utf-8", "replace")


async def _as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


async def _configuration(config: RepConfig, scrubber: Scrubber) -> str:
    return await _as_json(scrubber.config(json.loads(configcheck.values_as_json(config))))


async def _problems(subject: Subject, scrubber: Scrubber) -> str:
    report = await asyncio.to_thread(configcheck.check, subject.path)
    return scrubber.text(configcheck.explain(subject.path, report))


async def _service(unit: str, scrubber: Scrubber) -> str:
    """What systemd knows of the service; not its environment, which may have secrets."""
    listed = await _output("systemctl", "show", unit)
    lines = [line for line in listed.splitlines() if not line.startswith(("Environment", "Exec"))]
    return scrubber.text("\n".join(lines))


async def _log(subject: Subject, scrubber: Scrubber) -> str:
    journal = ("journalctl", "--no-pager", "--output=cat", f"--unit={subject.unit}")
    text = await _output(*journal, f"--lines={subject.lines}")
    return "".join(f"{line}\n" for line in scrubber.log(text.splitlines()))


async def _asked(rep: Rep, path: str, key: str, scrubber: Scrubber) -> str:
    return await _as_json(scrubber.value(await rep.document(path, key)))


async def _containers(config: RepConfig) -> str:
    """Without environment and command line of the apps."""
    selected = f"label={LABEL_CELL}={config.cell_id}"
    return await _output(
        "docker",
        "--host",
        config.docker_host,
        "ps",
        "--all",
        "--filter",
        selected,
        "--format",
        CONTAINER_FORMAT,
    )


async def _commands(*commands: Sequence[str]) -> str:
    """The output of each command below its line."""
    texts = []
    for command in commands:
        try:
            texts.append(f"$ {' '.join(command)}\n{await _output(*command)}")
        except (NotCollected, OSError) as error:
            texts.append(f"$ {' '.join(command)}\nnot collected: {error}\n")
    return "\n".join(texts)


async def _output(*command: str) -> str:
    """Standard output of a program. Raises NotCollected, OSError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise NotCollected(err.decode("utf-8", "replace").strip() or f"status {process.returncode}")
    return out.decode("utf-8", "replace")
