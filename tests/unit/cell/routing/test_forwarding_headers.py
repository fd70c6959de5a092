"""Headers of forwarded requests and responses."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from cell.routing.headers import (
    end_to_end,
    forwarded_request,
    forwarded_response,
    preferred_instance,
    wanted_instance,
)
from cell.routing.table import Endpoint

pytestmark = pytest.mark.unit

ENDPOINT = Endpoint("10.0.0.1:61001", "app-guid", "process", "instance-guid", 3)


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


def request(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return forwarded_request(headers(*pairs), ENDPOINT, client="192.0.2.1", request_id="r", now_ms=7)


def test_headers_of_one_connection_end_here() -> None:
    sent = end_to_end(
        headers(
            ("Connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("Expect", "100-continue"),
            ("Accept", "a"),
            ("accept", "b"),
        )
    )
    assert list(sent.items()) == [("Accept", "a"), ("accept", "b")]


def test_the_app_learns_where_the_request_comes_from() -> None:
    sent = request(("Host", "shop"))
    assert dict(sent) == {
        "Host": "shop",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Proto": "http",
        "X-Request-Start": "7",
        "X-Vcap-Request-Id": "r",
        "X-Cf-Applicationid": "app-guid",
        "X-Cf-Instanceid": "instance-guid",
        "X-Cf-Instanceindex": "3",
    }


def test_what_a_proxy_in_front_says_stays() -> None:
    sent = request(
        ("X-Forwarded-For", "198.51.100.1"),
        ("X-Forwarded-For", "198.51.100.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Request-Start", "5"),
    )
    assert sent.getall("X-Forwarded-For") == ["198.51.100.1, 198.51.100.2, 192.0.2.1"]
    assert (sent["X-Forwarded-Proto"], sent["X-Request-Start"]) == ("https", "5")


def test_a_client_cannot_pretend_to_be_the_router() -> None:
    sent = request(
        ("X-Vcap-Request-Id", "mine"), ("x-cf-applicationid", "other"), ("X-CF-InstanceIndex", "9")
    )
    assert sent.getall("X-Vcap-Request-Id") == ["r"]
    assert sent.getall("X-Cf-Applicationid") == ["app-guid"]
    assert sent.getall("X-Cf-Instanceindex") == ["3"]


def test_bytes_that_are_no_utf8_can_be_sent() -> None:
    assert end_to_end(headers(("A", "caf\udce9"), ("B", "café")))["A"] == "café"


def test_a_session_of_the_app_makes_its_instance_sticky() -> None:
    sent = forwarded_response(
        headers(
            ("Set-Cookie", "a=b"), ("Set-Cookie", "JSESSIONID=x; Path=/app; Secure; Max-Age=60; HttpOnly")
        ),
        ENDPOINT,
        request_id="r",
    )
    *from_app, sticky = sent.getall("Set-Cookie")
    assert len(from_app) == 2
    parts = set(sticky.split("; "))
    assert parts == {"__VCAP_ID__=instance-guid", "Path=/", "Secure", "Max-Age=60", "HttpOnly"}


@pytest.mark.parametrize("cookie", ["session=x", "JSESSIONIDS=x", "other=JSESSIONID="])
def test_other_cookies_do_not(cookie: str) -> None:
    sent = forwarded_response(headers(("Set-Cookie", cookie)), ENDPOINT, request_id="r")
    assert sent.getall("Set-Cookie") == [cookie]


@pytest.mark.parametrize(
    ("cookies", "instance"),
    [
        (["JSESSIONID=x; __VCAP_ID__=guid"], "guid"),
        (["a=b", "__VCAP_ID__=guid;JSESSIONID=x"], "guid"),
        (["__VCAP_ID__=guid"], ""),
        (["JSESSIONID=x"], ""),
        ([], ""),
    ],
)
def test_the_instance_of_a_session(cookies: list[str], instance: str) -> None:
    assert preferred_instance(headers(*(("Cookie", each) for each in cookies))) == instance


def test_the_one_instance_that_may_answer() -> None:
    assert wanted_instance(headers()) is None
    assert wanted_instance(headers(("X-CF-App-Instance", "app:12"))) == ("app", 12)


@pytest.mark.parametrize("text", ["", "app", "app:", ":1", "app:x", "app:-1", "a:1:2", "app:12345678901"])
def test_an_app_instance_header_that_names_none(text: str) -> None:
    with pytest.raises(ValueError, match="APP_GUID:INDEX"):
        wanted_instance(headers(("X-Cf-App-Instance", text)))
