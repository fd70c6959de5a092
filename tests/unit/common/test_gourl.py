"""URLs: accepted and refused texts, and formatting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.gourl import URLError, parse, resolve

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("mysql://u:p@h:3306/d?x=1", "mysql://u:p@h:3306/d?x=1"),
        ("MySQL://h/d", "mysql://h/d"),
        ("postgres://u:p@ss@h/a b?q=x y#f g", "postgres://u:p%40ss@h/a%20b?q=x y#f%20g"),
        ("postgres://u:%21%40%2f@h/d", "postgres://u:%21%40%2F@h/d"),
        ("mysql:opaque", "mysql:opaque"),
        ("mysql:", "mysql:"),
        ("http://h/%7e", "http://h/%7e"),
        ("http://h/%7e b", "http://h/~%20b"),
        ("http://h/a%2fb", "http://h/a%2fb"),
        ("http://h/[x]", "http://h/[x]"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://h:/", "http://h:/"),
        ("http://h?", "http://h?"),
        ("http://h?a?", "http://h?a?"),
        ("file:/etc/x", "file:/etc/x"),
        ("file:///etc/x", "file:///etc/x"),
        ("//h/x", "//h/x"),
        ("/a//b/../c", "/a//b/../c"),
        ("", ""),
        ("*", "*"),
        ("http://h/\u00e4", "http://h/%C3%A4"),
        ("http://u@h", "http://u@h"),
        ("http://h/a:b", "http://h/a:b"),
        ("a/b:c", "a/b:c"),
        ("http://h/#a%20b", "http://h/#a%20b"),
    ],
)
def test_put_together_again(text: str, again: str) -> None:
    assert str(parse(text)) == again


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("%zz", 'invalid URL escape "%zz"'),
        ("http://h/%4", 'invalid URL escape "%4"'),
        (":x", "missing protocol scheme"),
        ("127.0.0.1:80", "first path segment in URL cannot contain colon"),
        ("mysql://h:bad port/", 'invalid port ":bad port" after host'),
        ("http://[::1", "missing ']' in host"),
        ("http://[::1]x", 'invalid port "x" after host'),
        ("http://a b/", 'invalid character " " in host name'),
        ("http://%41/", 'invalid URL escape "%41"'),
        ("http://u{:p@h/", "net/url: invalid userinfo"),
        ("http://h/\x01", "net/url: invalid control character in URL"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(URLError) as error:
        parse(text)
    assert str(error.value).startswith('parse "')
    assert str(error.value).endswith(f": {reason}")


@pytest.mark.parametrize(
    ("text", "target", "authority", "host_and_port"),
    [
        ("http://h:80/a b?c=d#e", "/a%20b?c=d", "h:80", ("h", "80")),
        ("http://h", "/", "h", ("h", "")),
        ("http://h:", "/", "h", ("h", "")),
        ("http://h?q", "/?q", "h", ("h", "")),
        ("http://u:p@[::1]:8/", "/", "[::1]:8", ("::1", "8")),
    ],
)
def test_parts_of_a_request(text: str, target: str, authority: str, host_and_port: tuple[str, str]) -> None:
    url = parse(text)
    assert (url.request_target(), url.authority(), url.hostname_and_port()) == (
        target,
        authority,
        host_and_port,
    )


def test_credentials_can_be_left_out_or_hidden() -> None:
    url = parse("http://u:p@h/")
    assert str(url.without_user()) == "http://h/"
    assert "p" not in str(url.redacted()).removeprefix("http")
    assert str(url) == "http://u:p@h/"


@pytest.mark.parametrize(
    ("base", "reference", "target"),
    [
        ("http://h/a/b", "c?x=1", "http://h/a/c?x=1"),
        ("http://h/a/b", "/c", "http://h/c"),
        ("http://h/a/b", "//i/c", "http://i/c"),
        ("http://h/a#f", "/b", "http://h/b#f"),
        ("http://h/a#f", "/b#g", "http://h/b#g"),
        ("http://h/", "https://i:1/", "https://i:1/"),
    ],
)
def test_references(base: str, reference: str, target: str) -> None:
    assert str(resolve(parse(base), reference)) == target


@pytest.mark.parametrize("reference", ["http://[::1", "%zz", ":"])
def test_references_that_lead_nowhere(reference: str) -> None:
    with pytest.raises(URLError):
        resolve(parse("http://h/"), reference)


@given(st.text(max_size=30))
def test_any_text_is_refused_or_stable(text: str) -> None:
    try:
        once = str(parse(f"http://h/{text}"))
    except URLError:
        return
    assert str(parse(once)) == once
