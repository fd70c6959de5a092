"""Stacks: parsing, resolving, describing, reading from disk."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rep.rootfs import HostPath, InvalidPreloadedRootFS, StackMap, UnknownStack, named_with_version

pytestmark = pytest.mark.unit

STACKS = StackMap({"cflinuxfs4": "/stacks/fs4.tar", "image": "repo/image:tag"})


def test_only_the_first_colon_splits() -> None:
    assert StackMap.parse(["a:repo/image:tag", "b:/x"]).paths == {"a": "repo/image:tag", "b": "/x"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("nothing", "Invalid preloaded RootFS value: not of the form 'stack-name:path'"),
        (":/path", "Invalid preloaded RootFS value: blank stack"),
        ("  :/path", "Invalid preloaded RootFS value: blank stack"),
        ("name:", "Invalid preloaded RootFS value: blank path"),
    ],
)
def test_entries_that_are_no_stack(entry: str, said: str) -> None:
    with pytest.raises(InvalidPreloadedRootFS, match=f"^{said}$"):
        StackMap.parse([entry])


@pytest.mark.parametrize(
    ("root_fs", "resolved"),
    [
        ("", ""),
        ("preloaded:cflinuxfs4", "/stacks/fs4.tar"),
        ("preloaded:image", "repo/image:tag"),
        ("preloaded+layer:cflinuxfs4?layer=x", "preloaded+layer:/stacks/fs4.tar?layer=x"),
        ("docker:///org/image#tag", "docker:///org/image#tag"),
    ],
)
def test_resolving_and_back(root_fs: str, resolved: str) -> None:
    assert STACKS.resolve(root_fs) == resolved
    assert STACKS.describe(resolved) == root_fs


@pytest.mark.parametrize("root_fs", ["preloaded:none", "preloaded:", "preloaded+layer:none?x=1"])
def test_an_unknown_stack(root_fs: str) -> None:
    with pytest.raises(UnknownStack, match="preloaded rootfs path not found"):
        STACKS.resolve(root_fs)


@pytest.mark.parametrize("root_fs", ["/etc", "/", "//etc", "/etc:x", "/stacks/../etc"])
def test_a_directory_of_the_host_is_no_root(root_fs: str) -> None:
    """``root_fs: "/etc"`` imported that directory of the host as an image."""
    with pytest.raises(HostPath, match="rootfs is a path of the cell that is none of its stacks"):
        STACKS.resolve(root_fs)


def test_a_stack_may_be_named_by_its_path() -> None:
    assert STACKS.resolve("/stacks/fs4.tar") == "/stacks/fs4.tar"


def tar(path: Path, entries: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("./etc/stack-version", "stack@1.268.0"),
        ("/etc/stack-version", "stack@1.268.0"),
        ("etc/stack-version", "stack"),
        ("./etc/other", "stack"),
    ],
)
def test_the_version_of_a_stack(tmp_path: Path, entry: str, name: str) -> None:
    path = tmp_path / "stack.tar"
    tar(path, {"./bin/sh": b"x", entry: b" 1.268.0\n"})
    assert named_with_version(StackMap({"stack": str(path)})) == [name]


def test_a_stack_that_is_no_tar_has_its_plain_name(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tar")
    stacks = StackMap({"text": str(tmp_path / "text"), "dir": str(tmp_path), "gone": "/none"})
    assert named_with_version(stacks) == ["text", "dir", "gone"]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_stack_that_is_cut_has_its_plain_name(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Errors of the unpacker got out, and the rep did not start."""
    tar(tmp_path / "stack.tar", {"./bin/sh": os.urandom(5000), "./etc/stack-version": b"1"})
    packed = tmp_path / "packed"
    for cut in (300, 3000):
        packed.write_bytes(pack((tmp_path / "stack.tar").read_bytes())[:cut])
        assert named_with_version(StackMap({"stack": str(packed)})) == ["stack"]


def test_extra_tars_join_and_override(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for path in ("a.tar", "deep/b.TAR", "c.txt"):
        (tmp_path / path).touch()
    stacks = StackMap({"a": "/old", "x": "/x"}).with_extra(str(tmp_path))
    assert stacks.paths == {"a": str(tmp_path / "a.tar"), "x": "/x", "b": str(tmp_path / "deep/b.TAR")}


def test_a_missing_extra_directory_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert StackMap({"x": "/x"}).with_extra("/does/not/exist").paths == {"x": "/x"}
    assert [record.message for record in caplog.records] == ["failed-to-walk-extra-rootfs-dir"]
