"""Selection and download of buildpacks, and the builder's exit statuses."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from lifecycle.buildpack.buildpacks import BuildError, Buildpack, is_custom
from lifecycle.buildpack.download import extract
from lifecycle.buildpack.results import Used, read_config, result_json
from lifecycle.buildpack.xxh64 import xxh64

pytestmark = pytest.mark.unit

RUBY = "https://github.com/cloudfoundry/ruby-buildpack"


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        ("", "ef46db3751d8e999"),
        ("a", "d24ec4f1a98c6e5b"),
        ("my-buildpack/key/::", "dc91f5556d3ae859"),
        (RUBY, "0e1df1251578f504"),
        ("always-detects", "57efcd3f67a2d921"),
    ],
)
def test_xxh64(key: str, digest: str) -> None:
    assert xxh64(key.encode()) == digest


@pytest.mark.parametrize(
    ("places", "found"),
    [
        (["0e1df1251578f504/bin"], "0e1df1251578f504"),
        (["21de62d118ecb1f46d868d24f00839ef/bin"], "21de62d118ecb1f46d868d24f00839ef"),
        (["0e1df1251578f504/bin", "21de62d118ecb1f46d868d24f00839ef/bin"], "0e1df1251578f504"),
        (["0e1df1251578f504/top/bin"], "0e1df1251578f504/top"),
        (
            ["0e1df1251578f504", "21de62d118ecb1f46d868d24f00839ef/t/bin"],
            "21de62d118ecb1f46d868d24f00839ef/t",
        ),
    ],
)
def test_where_a_buildpack_is(places: list[str], found: str, tmp_path: Path) -> None:
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    assert Buildpack(RUBY, tmp_path).locate() == tmp_path / found


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([], "Failed to read buildpack directory '{0}' for buildpack '{0}'"),
        (["0e1df1251578f504"], "Failed to read buildpack directory '{0}' for buildpack '{0}'"),
        (
            ["0e1df1251578f504/a/bin", "0e1df1251578f504/b"],
            "malformed buildpack does not contain a /bin dir: {1}",
        ),
        (["0e1df1251578f504/a/x"], "malformed buildpack does not contain a /bin dir: {1}"),
        (["21de62d118ecb1f46d868d24f00839ef/x"], "malformed buildpack does not contain a /bin dir: {1}"),
    ],
)
def test_buildpacks_that_cannot_be_located(places: list[str], message: str, tmp_path: Path) -> None:
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    with pytest.raises(BuildError) as error:
        Buildpack(RUBY, tmp_path).locate()
    assert str(error.value) == message.format(tmp_path / "0e1df1251578f504", RUBY)


@pytest.mark.parametrize(
    ("key", "custom"), [(RUBY, True), ("c:one", True), ("ruby_buildpack", False), ("a/b:c", False)]
)
def test_which_are_downloaded(key: str, custom: bool) -> None:
    assert is_custom(key) is custom


def test_neither_url_nor_key() -> None:
    with pytest.raises(BuildError) as error:
        is_custom("%zz")
    assert str(error.value) == 'Invalid buildpack url (%zz): parse "%zz": invalid URL escape "%zz"'


def packed(members: dict[str, tuple[int, str]]) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, (mode, content) in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return out


def test_unpacking_keeps_modes_and_links(tmp_path: Path) -> None:
    members = {
        "bin/": (stat.S_IFDIR | 0o755, ""),
        "bin/detect": (stat.S_IFREG | 0o755, "#!"),
        "lib/data": (stat.S_IFREG | 0o640, "x"),
        "bin/link": (stat.S_IFLNK | 0o777, "detect"),
    }
    extract(packed(members), tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "b/bin/detect").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "b/lib/data").stat().st_mode) == 0o640
    assert os.readlink(tmp_path / "b/bin/link") == "detect"


@pytest.mark.parametrize(
    "members",
    [
        {"../evil": (stat.S_IFREG | 0o644, "x")},
        {"out": (stat.S_IFLNK | 0o777, ".."), "out/evil": (stat.S_IFREG | 0o644, "x")},
        {"/evil": (stat.S_IFREG | 0o644, "x")},
    ],
)
def test_unpacking_stays_inside(members: dict[str, tuple[int, str]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="illegal file path"):
        extract(packed(members), tmp_path / "b")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("content", "used"),
    [
        (None, Used("k")),
        ("\tbad", Used("k")),
        ("[1]", Used("k")),
        ("name: Ruby\nversion: 1.10\n", Used("k", "Ruby", "1.10")),
        ("name: [x]\nversion: {a: b}\nconfig: x\n", Used("k", entrypoint_prefix="")),
        ("key: other\nconfig: {entrypoint_prefix: /p}\n", Used("k", entrypoint_prefix="/p")),
        ("output_metadata: {b: {a: 1}}\n", Used("k", output_metadata={"b": {"a": 1}})),
    ],
)
def test_what_a_buildpack_says_of_itself(content: str | None, used: Used, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.yml").write_text(content)
    assert read_config("k", tmp_path) == used


def test_result_of_a_failed_build() -> None:
    assert result_json([Used("a", "A", "1"), Used("b")], None) == (
        '{"lifecycle_metadata":{"buildpack_key":"b","detected_buildpack":"",'
        '"buildpacks":[{"key":"a","name":"A","version":"1"},{"key":"b","name":""}]},'
        '"process_types":null,"execution_metadata":"","lifecycle_type":"buildpack"}\n'
    )


def test_the_name_from_detection_yields_to_the_buildpacks_own() -> None:
    assert Used("k", "own").or_named("detected").name == "own"
    assert Used("k").or_named("detected").name == "detected"
