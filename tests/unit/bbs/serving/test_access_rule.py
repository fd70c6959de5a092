"""The access rule of a listener without TLS, as a decision over request headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from bbs.serving.access import AccessRule

pytestmark = pytest.mark.unit

EVIL = "http://evil.example"


def refused(access: AccessRule, *headers: tuple[str, str]) -> bool:
    return bool(access.refusal(CIMultiDictProxy(CIMultiDict(headers))))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8888", "127.0.0.1", "[::1]:8888", "[::1]", "localhost:8888", "LOCALHOST", "10.0.0.5:1", ""],
)
def test_programs_may_call_by_address_and_as_localhost(host: str) -> None:
    assert not refused(AccessRule(), ("Host", host))


def test_a_program_may_leave_out_the_host() -> None:
    assert not refused(AccessRule())


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8888",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "x:y",
        "a b",
        "[::1",
        "1.2.3",
    ],
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(host: str) -> None:
    assert refused(AccessRule(), ("Host", host))


def test_two_hosts_are_refused() -> None:
    assert refused(AccessRule(), ("Host", "127.0.0.1"), ("Host", "evil.example"))


@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "",
        "http://127.0.0.1:62501",
        "http://localhost:8888",
        "https://127.0.0.1:8888",
        "x",
        "file://",
    ],
)
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    assert refused(AccessRule(), ("Host", "127.0.0.1:8888"), ("Origin", origin))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8888", "http://127.0.0.1:8888"),
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("localhost:80", "http://localhost"),
        ("[::1]:8888", "http://[::1]:8888"),
    ],
)
def test_pages_of_the_listener_itself_may_ask(host: str, origin: str) -> None:
    assert not refused(AccessRule(), ("Host", host), ("Origin", origin))


@pytest.mark.parametrize(
    ("site", "mode", "refusal"),
    [
        ("cross-site", "no-cors", True),
        ("same-site", "cors", True),
        ("cross-site", "navigate", False),
        ("same-origin", "cors", False),
        ("none", "navigate", False),
    ],
)
def test_requests_without_origin_are_judged_by_the_site_that_made_them(
    site: str, mode: str, refusal: bool
) -> None:
    fetch = (("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode))
    assert refused(AccessRule(), ("Host", "127.0.0.1"), *fetch) == refusal


def test_an_operator_may_allow_names_and_their_pages() -> None:
    access = AccessRule(hosts=("cell.internal",))
    assert not refused(access, ("Host", "cell.internal:1801"))
    assert not refused(access, ("Host", "Cell.Internal."))
    assert not refused(access, ("Host", "127.0.0.1:1801"), ("Origin", "https://cell.internal"))
    assert refused(access, ("Host", "other.internal"))
    assert refused(access, ("Host", "cell.internal"), ("Origin", EVIL))


@given(st.text(), st.text())
def test_every_text_is_judged(host: str, origin: str) -> None:
    said = refused(AccessRule(), ("Host", host), ("Origin", origin))
    assert said or origin.startswith("http://"), "only its own origin is taken"


@given(st.integers(min_value=10**9))
def test_long_numbers_are_no_ports(port: int) -> None:
    assert refused(AccessRule(), ("Host", f"127.0.0.1:{port}"))
