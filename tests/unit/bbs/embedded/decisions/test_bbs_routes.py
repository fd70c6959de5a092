"""Routes in responses, compared with a recorded BBS: compact JSON."""

from __future__ import annotations

import pytest

from bbs.embedded.decisions.routing import stored

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b'[{"hostnames": ["a b"], "port": 8080}]', b'[{"hostnames":["a b"],"port":8080}]'),
        (b' {"a" :\t1.50 ,\n"b": "x \\" y" } ', b'{"a":1.50,"b":"x \\" y"}'),
        (b'{"a":1,"a":2}', b'{"a":1,"a":2}'),
        (b'"<a> & b"', b'"\\u003ca\\u003e \\u0026 b"'),
        ('"\u2028"'.encode(), b'"\\u2028"'),
        (b"not json at  all", b"not json at  all"),
        (b"[" * 100000, b"[" * 100000),
        (b"", b""),
    ],
)
def test_routes_as_they_are_kept(given: bytes, kept: bytes) -> None:
    assert stored({"router": given}) == {"router": kept}
