"""Removal of unused uploads: named, recent and foreign files stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.models.actions import Action, DownloadAction, RunAction, SerialAction
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import TaskDefinition
from bbs.serving.address import Address
from cell.development.leftovers import MIN_AGE_S, remove_unclaimed, unclaimed

pytestmark = pytest.mark.unit

FREE = Address("127.0.0.1", 0)


def uploaded(static: Path, name: str, age_s: float = 2 * MIN_AGE_S) -> Path:
    path = static / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        ("packages/aaaa", False),
        ("buildpacks/bbbb", False),
        ("droplets/cccc.tgz", False),
        ("buildpack_cache/cellfs/dddd.tgz", False),
        ("buildpack_cache/eeee.tgz", False),
        ("packages/named-package", True),
        ("buildpacks/named-buildpack", True),
        ("droplets/named-droplet.tgz", True),
        ("buildpack_cache/cellfs/named-app.tgz", True),
        ("lifecycle/lifecycle.tgz", True),
        ("mine/anything.tgz", True),
        ("anything.tgz", True),
    ],
)
def test_which_go(name: str, stays: bool, tmp_path: Path) -> None:
    path = uploaded(tmp_path, name)
    records = [
        '{"from":"http://f/v1/static/packages/named-package"}',
        '{"from":"http://f/v1/static/buildpacks/named-buildpack","log_guid":"named-app"}',
        '{"from":"http://f/v1/static/droplets/named-droplet.tgz"}',
    ]
    assert unclaimed(tmp_path, records, time.time()) == ([] if stays else [path])


def test_what_is_recent_stays(tmp_path: Path) -> None:
    uploaded(tmp_path, "packages/aaaa", age_s=0.9 * MIN_AGE_S)
    assert unclaimed(tmp_path, [], time.time()) == []


def test_nothing_was_uploaded_yet(tmp_path: Path) -> None:
    assert unclaimed(tmp_path / "static", [], time.time()) == []


async def test_what_lrps_and_tasks_name_stays(tmp_path: Path) -> None:
    static = tmp_path / "static"
    droplet = uploaded(static, "droplets/of-an-lrp.tgz")
    package = uploaded(static, "packages/of-a-task")
    cache = uploaded(static, "buildpack_cache/cellfs/of-an-app.tgz")
    lost = uploaded(static, "droplets/of-nobody.tgz")
    addresses = Addresses(bbs=FREE, locket=FREE, auctioneer=FREE, receptor=FREE, fileserver=FREE)

    def download(file: Path) -> Action:
        return DownloadAction(from_=f"http://f/v1/static/{file.relative_to(static)}", to=".", user="vcap")

    run = RunAction(path="/app", user="vcap")
    async with ControlPlane(PlaneConfig(state_dir=tmp_path, addresses=addresses)) as plane:
        controllers = plane.bbs.controllers
        await controllers.desired.desire(
            DesiredLRP(
                process_guid="p",
                domain="d",
                root_fs="preloaded:cellfs",
                setup=download(droplet),
                action=run,
                log_guid="of-an-app",
            ),
            "",
        )
        await controllers.tasks.desire(
            "t",
            "d",
            TaskDefinition(root_fs="preloaded:cellfs", action=SerialAction(actions=(download(package), run))),
        )
        assert await remove_unclaimed(plane, static) == [lost]
    assert all(path.exists() for path in (droplet, package, cache))
    assert not lost.exists()
