"""Custom buildpacks over HTTP: failing servers, broken archives, credentials."""

from __future__ import annotations

import base64
import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lifecycle.buildpack import download as module
from lifecycle.buildpack.buildpacks import BuildError, Buildpack
from lifecycle.buildpack.download import ATTEMPTS, download, extract

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0)
    monkeypatch.setattr(module, "JITTER", 0)


def archive(compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as members:
        members.writestr("bin/detect", "#!/bin/sh\n" * 1000)
    return out.getvalue()


def fetch(url: str, tmp_path: Path) -> Path:
    buildpack = Buildpack(url, tmp_path / "downloads")
    download(buildpack, verify=True)
    return tmp_path / "downloads" / buildpack.hash


def test_a_good_one(registry: Any, answer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry.rules["/b.zip"] = answer(archive())
    where = fetch(f"{registry.url}/b.zip", tmp_path)
    assert (where / "bin/detect").read_text().startswith("#!/bin/sh\n")
    assert capsys.readouterr().out.startswith(f"Downloaded buildpack `{registry.url}/b.zip` (")


def test_one_that_breaks_off_is_tried_again(registry: Any, answer: Any, tmp_path: Path) -> None:
    whole = archive()
    cut = answer(whole[:100], headers={"Content-Length": str(len(whole))})
    replies = [cut, cut, answer(whole)]
    registry.rules["/b.zip"] = lambda _: replies.pop(0)
    assert (fetch(f"{registry.url}/b.zip", tmp_path) / "bin/detect").exists()


@pytest.mark.parametrize(
    ("status", "headers", "why"),
    [
        (404, {}, "Download failed: Status code 404"),
        (500, {}, "Download failed: Status code 500"),
        (302, {}, "Download failed: Status code 302"),
        (200, {"Content-Length": "100"}, "unexpected EOF"),
        (302, {"Location": "/b.zip"}, "stopped after 10 redirects"),
        (302, {"Location": "ftp://127.0.0.1/b.zip"}, "unsupported protocol scheme"),
        (302, {"Location": "http://127.0.0.1:1/b.zip"}, "connect: connection refused"),
        (302, {"Location": "http://[::1/b.zip"}, "missing ']' in host"),
    ],
)
def test_servers_that_fail(
    status: int, headers: dict[str, str], why: str, registry: Any, answer: Any, tmp_path: Path
) -> None:
    registry.rules["/b.zip"] = answer(b"no", status, headers)
    with pytest.raises(BuildError) as error:
        fetch(f"{registry.url}/b.zip", tmp_path)
    assert str(error.value).startswith(f"Failed to download buildpack '{registry.url}/b.zip': ")
    assert why in str(error.value)
    assert sum(each.path == "/b.zip" for each in registry.asked) % ATTEMPTS == 0


@pytest.mark.parametrize(
    ("user", "pair"),
    [("u:p", "u:p"), ("u", "u:"), ("%C3%BC:%E2%82%AC%40", "\u00fc:\u20ac@")],
    ids=["both", "no password", "escaped"],
)
def test_credentials_go_to_their_own_server_only(
    user: str, pair: str, registry: Any, another_registry: Any, answer: Any, tmp_path: Path
) -> None:
    another_registry.rules["/stored"] = answer(archive())
    registry.rules["/b.zip"] = answer(b"", 302, {"Location": f"{another_registry.url}/stored"})
    fetch(f"http://{user}@{registry.host}/b.zip", tmp_path)
    basic = "Basic " + base64.b64encode(pair.encode()).decode()
    assert [each.authorization for each in registry.asked] == [basic]
    assert [each.authorization for each in another_registry.asked] == [None]


def corrupted() -> list[bytes]:
    """A good archive that is broken at each of its places."""
    good = archive()
    damaged = [good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :] for at in range(0, len(good), 3)]
    return [b"", b"no archive", good[:50], good[50:], *damaged]


def test_archives_broken_anywhere(registry: Any, answer: Any, tmp_path: Path) -> None:
    """They are refused in words, or what was damaged does not matter."""
    refusals = []
    for content in corrupted():
        registry.rules["/b.zip"] = answer(content)
        try:
            fetch(f"{registry.url}/b.zip", tmp_path)
        except BuildError as error:
            refusals.append(str(error).partition(": ")[0])
    assert len(refusals) > 10
    assert set(refusals) == {f"Failed to extract buildpack '{registry.url}/b.zip'"}


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as members:
        link = zipfile.ZipInfo("bin")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        members.writestr(link, str(outside))
        with pytest.warns(UserWarning, match="Duplicate name"):
            members.writestr("bin", "evil")
    extract(out, tmp_path / "b")
    assert outside.read_text() == "untouched"
    assert (tmp_path / "b/bin").read_text() == "evil"
