"""Packages from an app's folder or archive."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bbs.models.workload import MediaType
from cell.apps.ignoring import Ignored
from cell.apps.packing import is_url, pack_app, pack_buildpack, procfile_error
from cell.client.target import BadArguments

pytestmark = pytest.mark.unit

PREAMBLE = b"#!/bin/bash\nexec java -jar $0\n"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    return folder


def fill(folder: Path, *paths: str) -> None:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)


def names(folder: Path, tmp_path: Path) -> set[str]:
    """What the package of a folder holds, below its top."""
    with tarfile.open(pack_app(folder, tmp_path / "p.tgz").path) as archive:
        return {name.removeprefix("./") for name in archive.getnames()} - {"."}


def zipped(*entries: str | zipfile.ZipInfo) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in entries:
            archive.writestr(entry, "content of an entry")
    return out.getvalue()


# -- folders --------------------------------------------------------------------------------------------


def test_a_folder_is_packed_without_what_cf_never_uploads(app: Path, tmp_path: Path) -> None:
    fill(app, ".git/config", "lib/.svn/x", ".DS_Store", "manifest.yml", ".gitignore", "_darcs/x", "lib/code")
    (app / "link").symlink_to("run")
    packed = pack_app(app, tmp_path / "p.tgz")
    assert packed.media is MediaType.TGZ
    with tarfile.open(packed.path) as archive:
        members = {member.name: member for member in archive}
    assert set(members) == {".", "./lib", "./lib/code", "./run", "./link"}
    assert members["./run"].mode & 0o111
    assert members["./link"].issym()
    assert {member.uid for member in members.values()} == {0}


def test_cfignore_keeps_files_out_of_the_package(app: Path, tmp_path: Path) -> None:
    """A .cfignore is honoured: node_modules, .venv and secrets are not uploaded."""
    fill(app, "node_modules/a/index.js", ".venv/bin/python", "secrets.env", "lib/node_modules/b", "lib/a.py")
    (app / ".cfignore").write_text("# comment\nnode_modules\n/.venv/\n\nsecrets.*\r\n")
    assert names(app, tmp_path) == {"run", "lib", "lib/a.py"}


@pytest.mark.parametrize(
    ("lines", "left_out"),
    [
        ("*.log", {"a.log", "d/b.log"}),
        ("/*.log", {"a.log"}),
        ("d/", {"d", "d/b.log", "d/e", "d/e/f"}),
        ("d/e", {"d/e", "d/e/f"}),
        ("e", {"d/e", "d/e/f"}),
        ("**/f", {"d/e/f"}),
        ("d/**", {"d", "d/b.log", "d/e", "d/e/f"}),
        ("*.log\n!d/b.log", {"a.log"}),
        ("d\n!d/e/f", {"d", "d/b.log", "d/e"}),
        ("!.git", set()),
        (r"\#x", {"#x"}),
        ("[a-c].log", {"a.log", "d/b.log"}),
        ("link", {"link"}),
        ("link/", set()),
    ],
)
def test_the_rules_of_gitignore(app: Path, tmp_path: Path, lines: str, left_out: set[str]) -> None:
    fill(app, "a.log", "d/b.log", "d/e/f", "#x", ".git/config")
    (app / "link").symlink_to("d")
    everything = {"run", "a.log", "d", "d/b.log", "d/e", "d/e/f", "#x", "link"}
    (app / ".cfignore").write_text(lines)
    assert names(app, tmp_path) == everything - left_out


@pytest.mark.parametrize("lines", ["!", "[z-a]"])
def test_a_cfignore_that_is_wrong(lines: str) -> None:
    with pytest.raises(BadArguments, match=r"^shop/\.cfignore: "):
        Ignored(lines, "shop/.cfignore")


def test_a_folder_behind_a_link(app: Path, tmp_path: Path) -> None:
    """FOLDER may be a symlink: the package holds the folder's files, not one link."""
    link = tmp_path / "current"
    link.symlink_to("app")
    assert names(link, tmp_path) == {"run"}
    (tmp_path / "b" / "bin").mkdir(parents=True)
    (tmp_path / "linked").symlink_to("b")
    packed = pack_buildpack(tmp_path / "linked", tmp_path / "b.tgz")
    with tarfile.open(packed.path) as archive:
        assert archive.getnames() == [".", "./bin"]


def test_a_named_pipe_is_refused_before_anything_is_uploaded(app: Path, tmp_path: Path) -> None:
    """A FIFO in an app's folder is named, and .cfignore can exclude it."""
    os.mkfifo(app / "queue")
    with pytest.raises(BadArguments, match=r"app/queue is a named pipe, .*: list it in \.cfignore"):
        pack_app(app, tmp_path / "p.tgz")
    (app / ".cfignore").write_text("queue\n")
    assert names(app, tmp_path) == {"run"}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("x"), "is neither a folder nor"),
        (lambda path: path.mkdir(), "is empty"),
        (lambda path: fill(path, ".git/config"), "is empty, except for ignored files"),
        (lambda path: path.symlink_to(path), "does not exist|symbolic links"),
    ],
)
def test_no_folder_of_an_app(tmp_path: Path, make: Callable[[Path], object], text: str) -> None:
    make(tmp_path / "app")
    with pytest.raises(BadArguments, match=text):
        pack_app(tmp_path / "app", tmp_path / "p.tgz")


# -- archives -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".zip", ".jar", ".war", ".JAR"])
def test_an_archive_is_used_as_it_is(tmp_path: Path, suffix: str) -> None:
    """A .jar and a .war are apps as a .zip is."""
    archive = tmp_path / f"app{suffix}"
    archive.write_bytes(zipped("run"))
    packed = pack_app(archive, tmp_path / "unused")
    assert (packed.path, packed.media) == (archive, MediaType.ZIP)


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_script_in_front_of_a_jar_is_cut_off(tmp_path: Path, adjusted: bool) -> None:
    """An executable jar has a preamble; the package is a zip from its first byte on, with equal entries."""
    script = zipfile.ZipInfo("bin/start", (2020, 1, 2, 3, 4, 6))
    script.external_attr = 0o100755 << 16
    inner = zipfile.ZipInfo("lib/inner.jar")
    inner.compress_type = zipfile.ZIP_STORED
    jar = tmp_path / "app.jar"
    jar.write_bytes(PREAMBLE + (b"" if adjusted else zipped(script, inner)))
    if adjusted:
        with zipfile.ZipFile(jar, "a") as archive:  # its offsets count the preamble
            archive.writestr(script, "content of an entry")
            archive.writestr(inner, "content of an entry")
    packed = pack_app(jar, tmp_path / "package")
    assert packed.path.read_bytes().startswith(b"PK\x03\x04")
    with zipfile.ZipFile(packed.path) as archive:
        found = {member.filename: member for member in archive.infolist()}
        assert archive.testzip() is None
        assert archive.read("bin/start") == b"content of an entry"
    assert set(found) == {"bin/start", "lib/inner.jar"}
    assert found["bin/start"].external_attr >> 16 == 0o100755
    assert found["bin/start"].date_time == (2020, 1, 2, 3, 4, 6)
    assert found["lib/inner.jar"].compress_type == zipfile.ZIP_STORED


def test_an_archive_is_packed_without_what_its_cfignore_names(tmp_path: Path) -> None:
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(".cfignore", "secret\n")
        packed.mkdir("d")
        for name in ("run", "secret", "d/secret", ".git/config"):
            packed.writestr(name, name)
    with zipfile.ZipFile(pack_app(archive, tmp_path / "package").path) as fresh:
        assert fresh.namelist() == ["d/", "run"]


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", zipped("run")[:40], PREAMBLE, zipped("run").replace(b"PK\1\2", b"PK\1\3")],
    ids=["empty", "text", "cut off", "script alone", "damaged"],
)
def test_an_archive_that_is_none(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "app.jar"
    archive.write_bytes(content)
    with pytest.raises(BadArguments, match=r"app\.jar is not a readable zip archive: "):
        pack_app(archive, tmp_path / "package")


def test_an_archive_in_which_all_is_ignored(tmp_path: Path) -> None:
    archive = tmp_path / "app.zip"
    archive.write_bytes(zipped(".git/config", "manifest.yml"))
    with pytest.raises(BadArguments, match="has no files, except for ignored ones"):
        pack_app(archive, tmp_path / "package")


def test_a_damaged_entry_behind_a_preamble(tmp_path: Path) -> None:
    """A bad checksum is found while the package is written, and names the archive."""
    content = bytearray(PREAMBLE + zipped("run"))
    content[len(PREAMBLE) + 40] ^= 0xFF
    (tmp_path / "app.jar").write_bytes(content)
    with pytest.raises(BadArguments, match=r"app\.jar is not a readable zip archive: "):
        pack_app(tmp_path / "app.jar", tmp_path / "package")


# -- buildpacks -----------------------------------------------------------------------------------------


def test_a_buildpack_keeps_its_manifest(tmp_path: Path) -> None:
    fill(tmp_path / "b", "bin/detect", "manifest.yml", ".git/config", "lib/__pycache__/x", ".cfignore")
    packed = pack_buildpack(tmp_path / "b", tmp_path / "b.tgz")
    with tarfile.open(packed.path) as archive:
        kept = {".", "./bin", "./bin/detect", "./lib", "./manifest.yml", "./.cfignore"}
        assert set(archive.getnames()) == kept


def test_a_buildpack_without_bin(tmp_path: Path) -> None:
    with pytest.raises(BadArguments, match="has no bin/"):
        pack_buildpack(tmp_path, tmp_path / "p.tgz")
    with pytest.raises(BadArguments, match="does not exist"):
        pack_buildpack(tmp_path / "none", tmp_path / "p.tgz")


def test_urls_of_buildpacks() -> None:
    assert is_url("https://example.com/b.git#v1")
    assert not is_url("./buildpacks/ruby")


# -- Procfiles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        (None, ""),
        ("web: ./run\nworker:\t./work\n", ""),
        ("web: ./run\n\tworker: x", "line 2, column 1: found a tab character that violates indentation"),
        ("web: a: b", "line 1, column 7: mapping values are not allowed in this context"),
        ("- web", "cannot unmarshal !!seq into Procfile"),
        ("web: [a]", "cannot unmarshal !!seq into web"),
    ],
)
def test_what_is_wrong_with_a_procfile(app: Path, content: str | None, trouble: str) -> None:
    """An error in a Procfile is shown with line and column, which the builder's message lacks."""
    if content is not None:
        (app / "Procfile").write_text(content)
    assert trouble in procfile_error(app)
    assert bool(procfile_error(app)) is bool(trouble)
