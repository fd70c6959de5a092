"""Requests of an SSH client in tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sshd.wire import text

if TYPE_CHECKING:
    from sshd.ssh.mux import Mux


def global_request(
    mux: Mux, name: str, payload: bytes, want_reply: bool
) -> asyncio.Future[tuple[bool, bytes]] | None:
    """Send a global request; if a reply is wanted, the future resolves to its success and payload."""
    if not want_reply:
        mux.ask(name, payload, None)
        return None
    answer: asyncio.Future[tuple[bool, bytes]] = asyncio.get_running_loop().create_future()
    mux.ask(
        name,
        payload,
        lambda success, content: None if answer.done() else answer.set_result((success, content)),
    )
    return answer


async def is_usable(client: Any) -> bool:
    """Whether a session of this tenant runs a command to its end."""
    session = await client.open()
    assert await session.channel.request("exec", text("echo usable"), True)
    await asyncio.wait_for(session.over.wait(), 60)
    usable: bool = session.seen.output == b"usable\n"
    return usable
