"""The splice of two connections, with all events on either side."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any

import pytest

from sshd.ssh import messages as m
from sshd.ssh.messages import OpenRefused
from sshd.wire import boolean, text, uint32
from tests.support.ssh import global_request
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

STATUS = uint32(7)
SIGNAL = text("TERM") + boolean(False) + text("") + text("")


async def received(recorder: Any, size: int) -> bytes:
    """All output up to ``size`` bytes, which have to come."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_S):
        while len(recorder.seen.output) < size:
            turn = loop.create_future()
            loop.call_later(0.01, turn.set_result, None)
            await turn
    return bytes(recorder.seen.output)


async def send(recorder: Any, data: bytes) -> None:
    """Send as the window allows."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_S):
        while data:
            room = recorder.channel.room()
            if room:
                recorder.channel.send(data[:room])
                data = data[room:]
            turn = loop.create_future()
            loop.call_later(0.001, turn.set_result, None)
            await turn


async def test_what_an_open_carries(spliced: Any) -> None:
    near, _ = await spliced.channel("any@example.com", b"extra of the question")
    assert near.channel.extra == b"extra of the answer"
    spliced.far.accepts = False
    opening = asyncio.ensure_future(spliced.client.open("other@example.com", b"x"))
    request = await spliced.far.opens.get()
    assert (request.kind, request.extra) == ("other@example.com", b"x")
    request.refuse(77, "not today", "en")
    with pytest.raises(OpenRefused) as refusal:
        await opening
    assert (refusal.value.reason, refusal.value.text, refusal.value.language) == (77, "not today", "en")


async def test_the_far_end_opens_too(spliced: Any, recorder: Any) -> None:
    at_client = recorder()
    spliced.client.visitor.accept = lambda request: request.accept(at_client, b"answer")
    at_far_end = recorder()
    channel = await spliced.far.mux.open("forwarded-tcpip", at_far_end, b"question")
    assert channel.extra == b"answer"
    assert [(each.kind, each.extra) for each in spliced.client.visitor.opened] == [
        ("forwarded-tcpip", b"question")
    ]
    at_client.channel.send(b"to the far end")
    at_client.channel.send_eof()
    assert await received(at_far_end, 14) == b"to the far end"


async def test_global_requests_and_their_answers_in_order(spliced: Any) -> None:
    ask = partial(global_request, spliced.client.link.mux)
    questions = [ask(f"question{number}", b"payload", True) for number in range(3)]
    assert ask("unanswered", b"", False) is None
    asked = [await spliced.far.requests.get() for _ in range(4)]
    assert [(name, payload, reply.want_reply) for name, payload, reply in asked] == [
        ("question0", b"payload", True),
        ("question1", b"payload", True),
        ("question2", b"payload", True),
        ("unanswered", b"", False),
    ]
    asked[2][2](True, b"third")
    asked[1][2](False)
    asked[0][2](True, b"first")
    assert [await question for question in questions] == [(True, b"first"), (False, b""), (True, b"third")]


async def test_global_requests_of_the_far_end(spliced: Any) -> None:
    assert await global_request(spliced.far.mux, "keepalive@openssh.com", b"", True) == (False, b"")


async def test_channel_requests_with_results_both_ways(spliced: Any) -> None:
    near, far = await spliced.channel()
    assert await near.channel.request("env", text("A") + text("b"), True) is True
    assert await far.channel.request("keepalive@cloudfoundry.org", b"", True) is True
    assert far.seen.requests == [("env", text("A") + text("b"))]
    assert near.seen.requests == [("keepalive@cloudfoundry.org", b"")]


async def test_kinds_of_data_keep_their_kind_and_order(spliced: Any) -> None:
    near, far = await spliced.channel()
    far.channel.send(b"out")
    far.channel.send(b"err", m.STDERR)
    far.channel.send(b"put")
    far.channel.close()
    await near.over.wait()
    assert (near.seen.output, near.seen.errors) == (b"output", b"err")


async def test_half_close(spliced: Any) -> None:
    near, far = await spliced.channel()
    near.channel.send(b"question")
    near.channel.send_eof()
    assert await received(far, 8) == b"question"
    far.channel.send(b"answer" * 100_000)
    assert await received(near, 600_000) == b"answer" * 100_000
    assert (far.seen.eof, near.seen.eof, near.over.is_set()) == (True, False, False)
    far.channel.close()
    await near.over.wait()


@pytest.mark.parametrize(
    ("script", "requests"),
    [
        (["data", "eof", "status", "close"], [("exit-status", STATUS)]),
        (["data", "status", "close"], [("exit-status", STATUS)]),
        # as OpenSSH's daemon does it: the command has ended, but not all of its output has been read
        (["status", "data", "eof", "close"], [("exit-status", STATUS)]),
        (["data", "status", "eof"], [("exit-status", STATUS)]),
        (["data", "status", "other", "close"], [("exit-status", STATUS)]),
        (["data", "signal", "other", "close"], [("other", b""), ("exit-signal", SIGNAL)]),
        (["signal", "data", "eof", "close"], [("exit-signal", SIGNAL)]),
        (["data", "close"], []),
    ],
)
async def test_how_a_command_ends(script: list[str], requests: list[tuple[str, bytes]], spliced: Any) -> None:
    near, far = await spliced.channel()
    data = os.urandom(100_000)
    act = {
        "data": lambda: far.channel.send(data),
        "eof": far.channel.send_eof,
        "status": lambda: far.channel.request("exit-status", STATUS),
        "signal": lambda: far.channel.request("exit-signal", SIGNAL),
        "other": lambda: far.channel.request("other", b""),
        "close": far.channel.close,
    }
    for step in script:
        act[step]()
    await near.over.wait()
    assert near.seen.output == data
    assert sorted(near.seen.requests) == sorted(requests)


async def test_the_end_of_a_command_comes_behind_the_output_its_client_takes_late(spliced: Any) -> None:
    near, far = await spliced.channel()
    near.fast()
    data = os.urandom(m.WINDOW + 100_000)
    await send(far, data)
    far.channel.request("exit-status", STATUS)
    far.channel.close()
    assert await received(near, m.WINDOW) == data[: m.WINDOW]
    assert (near.seen.requests, near.over.is_set()) == ([], False)
    near.eat()
    await near.over.wait()
    assert (near.seen.output, near.seen.requests) == (data, [("exit-status", STATUS)])


async def test_a_signal_overtakes_input_that_is_not_read(spliced: Any) -> None:
    near, far = await spliced.channel()
    far.fast()
    await send(near, bytes(2 * m.WINDOW))
    assert near.channel.room() == 0
    assert await near.channel.request("signal", text("INT"), True) is True
    assert len(far.seen.output) == m.WINDOW


async def test_a_slow_reader_holds_up_its_own_channel_only(spliced: Any) -> None:
    stuck, stuck_far = await spliced.channel()
    stuck_far.fast()
    await send(stuck, bytes(2 * m.WINDOW))  # one window here, one there: no more is taken
    assert stuck.channel.room() == 0
    near, far = await spliced.channel()
    data = os.urandom(5_000_000)
    sending = asyncio.ensure_future(send(near, data))
    assert await received(far, len(data)) == data
    await sending
    stuck_far.eat()
    assert len(await received(stuck_far, 2 * m.WINDOW)) == 2 * m.WINDOW


async def test_a_client_that_closes_while_output_waits_for_it(spliced: Any) -> None:
    """The far end does not wait for a window that never opens."""
    near, far = await spliced.channel()
    near.fast()
    await send(far, bytes(2 * m.WINDOW))
    near.channel.send(b"last input")
    near.channel.close()
    assert await received(far, 10) == b"last input"
    await far.over.wait()


async def test_a_client_that_closes_frees_an_instance_stuck_in_both_directions(spliced: Any) -> None:
    """An echo stops reading while its output has no reader; once the reader is gone, it continues."""
    near, far = await spliced.channel()
    near.fast()
    far.fast()
    await send(far, bytes(2 * m.WINDOW))
    await send(near, bytes(2 * m.WINDOW))
    assert (near.channel.room(), far.channel.room()) == (0, 0)
    near.channel.close()
    await send(far, b"goes on")
    far.eat()
    assert len(await received(far, 2 * m.WINDOW)) == 2 * m.WINDOW
    await far.over.wait()


async def test_input_arrives_although_its_client_closed_behind_it(spliced: Any) -> None:
    near, far = await spliced.channel()
    far.fast()
    data = os.urandom(m.WINDOW + 500_000)
    await send(near, data)
    near.channel.close()
    assert await received(far, m.WINDOW) == data[: m.WINDOW]
    far.eat()
    assert await received(far, len(data)) == data
    await far.over.wait()


async def test_a_client_that_goes_in_the_middle(spliced: Any) -> None:
    near, far = await spliced.channel()
    near.fast()
    await send(far, bytes(m.WINDOW))
    spliced.client.link.abort()
    await far.over.wait()
    await spliced.far.ended.wait()
    await spliced.setting.told.until_over()


async def test_a_far_end_that_goes_in_the_middle(spliced: Any) -> None:
    near, _far = await spliced.channel()
    await send(near, bytes(100_000))
    question = global_request(spliced.client.link.mux, "question", b"", True)
    await spliced.far.requests.get()
    spliced.far.link.abort()
    await near.over.wait()
    await spliced.client.visitor.ended.wait()
    assert await question == (False, b"")
    await spliced.setting.told.until_over()


async def test_an_open_whose_far_end_goes_before_it_answers(spliced: Any) -> None:
    spliced.far.accepts = False
    opening = asyncio.ensure_future(spliced.client.open())
    await spliced.far.opens.get()
    spliced.far.link.abort()
    with pytest.raises((OpenRefused, ConnectionResetError)):
        await opening


async def test_a_channel_that_is_closed_twice_at_once(spliced: Any) -> None:
    near, far = await spliced.channel()
    near.channel.close()
    far.channel.close()
    again, _ = await spliced.channel()
    assert again.channel.room() > 0


async def test_channels_that_the_far_end_never_closes_are_counted(spliced: Any) -> None:
    """Its own close may never come: what is kept for such channels is bounded too."""
    send_packet = spliced.far.link.send_packet

    def but_closes(kind: int, *args: bytes, **others: Any) -> None:
        if kind != m.CHANNEL_CLOSE:
            send_packet(kind, *args, **others)

    spliced.far.link.send_packet = but_closes
    for _ in range(m.MAX_CHANNELS):
        near, _far = await spliced.channel()
        near.channel.close()
    with pytest.raises(OpenRefused) as refusal:
        await spliced.client.open()
    assert refusal.value.reason == m.OPEN_RESOURCE_SHORTAGE


async def test_what_a_client_asks_for_before_it_is_connected(
    far_end: Any, open_proxy: Any, connect_to: Any, password: Any
) -> None:
    """Nothing is lost of what comes while the instance is still being reached."""
    port, far = far_end
    async with asyncio.timeout(PATIENCE_S), open_proxy(port) as running:
        client = await connect_to(running.port, password)
        questions = [global_request(client.link.mux, f"{number}", b"", True) for number in range(200)]
        await client.open()
        names = []
        for _ in questions:
            name, _, reply = await far.requests.get()
            names.append(name)
            reply(True, name.encode())
        assert names == [str(number) for number in range(200)]
        assert [await question for question in questions] == [(True, name.encode()) for name in names]


@pytest.mark.parametrize(
    ("kind", "extra", "reason", "words"),
    [
        ("x11", b"", m.OPEN_UNKNOWN_CHANNEL_TYPE, "x11"),
        ("auth-agent@openssh.com", b"", m.OPEN_UNKNOWN_CHANNEL_TYPE, "auth-agent@openssh.com"),
        ("direct-tcpip", b"\0", m.OPEN_CONNECT_FAILED, "Failed to parse open channel message"),
        (
            "direct-tcpip",
            text("127.0.0.1") + uint32(70000) + text("") + uint32(0),
            m.OPEN_CONNECT_FAILED,
            "dial tcp: address 70000: invalid port",
        ),
    ],
)
async def test_the_daemons_refusals_arrive_as_they_are(
    kind: str, extra: bytes, reason: int, words: str, setting: Any, connect_to: Any, password: Any
) -> None:
    client = await connect_to(setting.port, password)
    with pytest.raises(OpenRefused) as refusal:
        await client.open(kind, extra)
    assert (refusal.value.reason, refusal.value.text) == (reason, words)


async def test_the_daemons_answers_to_global_requests_arrive_as_they_are(
    setting: Any, connect_to: Any, password: Any
) -> None:
    ask = partial(global_request, (await connect_to(setting.port, password)).link.mux)
    assert await ask("keepalive@openssh.com", b"", True) == (False, b"")
    assert await ask("tcpip-forward", b"\0", True) == (False, b"")
    success, port = await ask("tcpip-forward", text("localhost") + uint32(0), True)
    assert (success, len(port)) == (True, 4)
    assert await ask("cancel-tcpip-forward", text("localhost") + port, True) == (True, b"")


async def test_a_reply_is_not_overtaken_by_what_follows_it(spliced: Any) -> None:
    """An instance answers, sends, and closes at once: all of it may arrive in one piece."""
    near, far = await spliced.channel()

    def carry_out(name: str, payload: bytes, reply: Any) -> None:
        reply(True)
        far.channel.send(b"done")
        far.channel.request("exit-status", uint32(0))
        far.channel.close()

    far.request_received = carry_out
    assert await near.channel.request("exec", text("quick"), True) is True
    await near.over.wait()
    assert near.seen.output == b"done"
