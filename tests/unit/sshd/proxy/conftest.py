"""A proxy in this process, in front of a real daemon or of a scripted SSH server."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, PortMapping
from bbs.models.common import DynamicValue, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from sshd.proxy.realms import DiegoRealm, Realm
from sshd.proxy.server import Proxy, ProxySettings
from sshd.proxy.target import Target
from sshd.records import Records
from sshd.ssh.algorithms import Algorithms
from sshd.ssh.client import Credentials
from sshd.ssh.connections import Connections
from sshd.ssh.library import asyncssh
from sshd.ssh.mux import Mux, OpenRequest
from sshd.ssh.replies import Reply
from sshd.ssh.server import ServerLink, ServerPolicy

PASSWORD = "s3cret"
USER = "diego:guid/0"


@dataclass
class Table:
    """A BBS with one process."""

    lrps: list[ActualLRP] = field(default_factory=list)
    desired: DesiredLRP = field(default_factory=DesiredLRP)

    async def actual_lrps(self, *, process_guid: str = "", index: int | None = None) -> list[ActualLRP]:
        return [
            lrp
            for lrp in self.lrps
            if (lrp.actual_lrp_key.process_guid, lrp.actual_lrp_key.index) == (process_guid, index)
        ]

    async def desired_lrp(self, process_guid: str) -> DesiredLRP:
        return self.desired


@dataclass
class Told:
    """The lines of the app's log, and the values of the gauge."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def write_line(self, target: Target, text: str) -> None:
        self.lines.append((target.source_id, target.instance_id, text.rpartition(" ")[0]))
        self.news.set()

    def connections(self, count: int) -> None:
        self.counts.append(count)
        self.news.set()

    async def until(self, condition: Callable[[Told], bool], timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition(self):
                self.news.clear()
                await self.news.wait()

    async def until_over(self) -> None:
        """The visit has ended in both."""
        await self.until(lambda told: len(told.lines) >= 2 and told.counts[-1:] == [0])


class Kept(Records):
    """Log records to look at."""

    def __init__(self) -> None:
        super().__init__("ssh-proxy", 0, False)
        self.written: list[tuple[str, object]] = []
        self.data: list[dict[str, object]] = []

    def write(self, level: int, message: str, **data: object) -> None:
        self.data.append(data)
        self.written.append((message, data.get("error")))

    def errors(self, message: str) -> list[object]:
        return [error for name, error in self.written if name == message]


@dataclass
class Setting:
    """A running proxy and everything around it."""

    port: int
    table: Table
    told: Told
    log: Kept


def make_instance(port: int, **ports: int) -> ActualLRP:
    """An instance on this machine whose daemon is mapped to ``port``; 0 for none."""
    mapping = replace(PortMapping(container_port=2222, host_port=port), **ports)
    return ActualLRP(
        actual_lrp_key=ActualLRPKey(process_guid="guid", index=0),
        actual_lrp_instance_key=ActualLRPInstanceKey(instance_guid="instance"),
        actual_lrp_net_info=ActualLRPNetInfo(address="127.0.0.1", ports=(mapping,)),
        state="RUNNING",
    )


def make_process(keys: Any, **route: Any) -> DesiredLRP:
    data = {"container_port": 2222, "host_fingerprint": "", "private_key": keys.user, "new": 1} | route
    return DesiredLRP(
        process_guid="guid",
        log_guid="app",
        routes={"diego-ssh": json.dumps(data).encode()},
        metric_tags={"index": MetricTagValue(dynamic=DynamicValue.INDEX), "org": MetricTagValue(static="o")},
    )


@pytest.fixture
def instance() -> Callable[..., ActualLRP]:
    return make_instance


@pytest.fixture
def process(keys: Any) -> Callable[..., DesiredLRP]:
    return lambda **route: make_process(keys, **route)


OpenProxy = Callable[..., AbstractAsyncContextManager[Setting]]


@pytest.fixture
def open_proxy(keys: Any) -> OpenProxy:
    """Runs a proxy in front of the daemon at a port; settings are those of ``ProxySettings``."""

    @asynccontextmanager
    async def opened(
        port: int, realms: Sequence[Realm] = (DiegoRealm(PASSWORD),), **settings: Any
    ) -> AsyncIterator[Setting]:
        told, log = Told(), Kept()
        table = Table([make_instance(port)], make_process(keys))
        wanted = ProxySettings(keys.host["ecdsa"], Algorithms(), 0, False, None)
        proxy = Proxy(replace(wanted, **settings), realms, table, told, log)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(proxy.serve(listening))
                yield Setting(listening.getsockname()[1], table, told, log)
                task.cancel()

    return opened


@pytest.fixture
async def setting(daemon: Any, open_proxy: OpenProxy) -> AsyncIterator[Setting]:
    """A proxy in front of the daemon of all tests."""
    async with open_proxy(daemon.port) as running:
        yield running


@dataclass
class Done:
    status: int
    out: bytes
    err: bytes


class StockClients:
    """OpenSSH's programs, which ask a program for the password."""

    def __init__(self, ask: Path) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "SSH_ASKPASS": str(ask),
            "SSH_ASKPASS_REQUIRE": "force",
        }
        self.options = [
            *("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"),
        ]

    async def start(self, *command: str | Path | int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *map(str, command),
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *command: str | Path | int, stdin: bytes = b"") -> Done:
        running = await self.start(*command)
        async with asyncio.timeout(60):
            out, err = await running.communicate(stdin)
        assert running.returncode is not None
        return Done(running.returncode, out, err)

    def ssh(self, setting: Setting, *extra: str, user: str = USER) -> list[str]:
        """The command line of ssh up to the remote command."""
        return ["ssh", *self.options, "-p", str(setting.port), "-l", user, *extra, "127.0.0.1"]

    @asynccontextmanager
    async def staying(self, setting: Setting, control: Path, *extra: str) -> AsyncIterator[list[str]]:
        """A client that stays connected without a command; gives the command line to talk to it."""
        talk = self.ssh(setting, "-S", str(control))
        started = await self.run(*talk[:-1], "-M", "-f", "-N", *extra, talk[-1])
        assert started.status == 0, started.err
        try:
            yield talk[:-1]
        finally:
            await self.run(*talk[:-1], "-O", "exit", talk[-1])


@pytest.fixture
def stock(tmp_path: Path) -> StockClients:
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\necho {PASSWORD}\n")
    ask.chmod(0o700)
    return StockClients(ask)


@pytest.fixture
def run(stock: StockClients, setting: Setting) -> Callable[..., Any]:
    """A command by way of ``setting``: its status, output and errors."""

    async def go(*command: str, user: str = USER, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        done = await stock.run(*stock.ssh(setting, user=user), *command, stdin=stdin)
        return done.status, done.out, done.err

    return go


class ToldWhatToDo:
    """A far end whose channels and requests a test answers itself."""

    def __init__(self, make_recorder: Callable[[], Any]) -> None:
        self._make_recorder = make_recorder
        self.mux: Mux
        self.link: ServerLink
        self.connected = asyncio.Event()
        self.ended = asyncio.Event()
        self.requests: asyncio.Queue[tuple[str, bytes, Reply]] = asyncio.Queue()
        self.opens: asyncio.Queue[OpenRequest] = asyncio.Queue()
        self.channels: asyncio.Queue[Any] = asyncio.Queue()
        self.accepts = True

    def serve(self, link: ServerLink) -> None:
        self.link = link
        self.mux = link.start_mux(self)
        self.connected.set()

    def open_requested(self, request: OpenRequest) -> None:
        if self.accepts:
            recorder = self._make_recorder()
            request.accept(recorder, b"extra of the answer")
            self.channels.put_nowait(recorder)
        else:
            self.opens.put_nowait(request)

    def global_requested(self, name: str, payload: bytes, reply: Reply) -> None:
        self.requests.put_nowait((name, payload, reply))

    def connection_ended(self, error: Exception | None) -> None:
        self.ended.set()


class LetIn:
    """Accepts every user with any key."""

    method = b"publickey"

    def accepts_none(self, user: str) -> bool:
        return False

    def accepts_key(self, user: str, key_blob: bytes) -> bool:
        return True

    async def accepts_password(self, user: str, password: str) -> bool:
        return False

    def refused(self, user: str, method: str) -> None:
        pass


@pytest.fixture
async def far_end(keys: Any, recorder: Callable[[], Any]) -> AsyncIterator[tuple[int, ToldWhatToDo]]:
    """The port of a server for one connection, and its script."""
    end = ToldWhatToDo(recorder)
    policy = ServerPolicy(
        version="far-end",
        host_key=asyncssh.import_private_key(keys.host["ecdsa"]),
        algorithms=Algorithms(),
        authenticator=lambda _: LetIn(),
        ready=end.serve,
        ended=lambda _: None,
        idle_seconds=0,
    )
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        await stack.enter_async_context(Connections(policy, lambda _: None, most=10).accepting(listening))
        yield listening.getsockname()[1], end


@dataclass
class Spliced:
    """A client, the proxy, and the far end, connected."""

    setting: Setting
    client: Any
    far: ToldWhatToDo

    async def channel(self, kind: str = "session", extra: bytes = b"") -> tuple[Any, Any]:
        """The recorders of both ends of a channel that the client opened."""
        near = await self.client.open(kind, extra)
        return near, await self.far.channels.get()


@pytest.fixture
async def spliced(
    far_end: tuple[int, ToldWhatToDo], open_proxy: OpenProxy, connect_to: Any, password: Any
) -> AsyncIterator[Spliced]:
    port, far = far_end
    async with asyncio.timeout(60), open_proxy(port) as running:
        client = await connect_to(running.port, password)
        await far.connected.wait()
        yield Spliced(running, client, far)


@pytest.fixture
def password() -> Credentials:
    """How a user of the diego realm gets in."""
    return Credentials(USER, PASSWORD)
