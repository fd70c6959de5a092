"""The paths of a step tree: unique, and equal for the same run info after a restart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    UploadAction,
    children,
)
from bbs.models.workload import Check, CheckDefinition, Sidecar, TCPCheck
from executor.codec import decode, encode
from executor.engine.api import EngineContainer
from executor.logs.streamer import LogStreamer
from executor.model import Container, LogConfig, RunInfo
from executor.steps.base import Step
from executor.steps.context import StepContext, StepSettings, StepTools
from executor.steps.trace import Node
from executor.steps.tree import build_container_step

pytestmark = pytest.mark.unit

LEAVES = st.sampled_from([RunAction(path="/app"), DownloadAction(to="/d"), UploadAction(from_="/u")])
TREES: st.SearchStrategy[Action] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        *(st.builds(one, action=inner) for one in (TimeoutAction, TryAction, EmitProgressAction)),
        *(
            st.builds(many, actions=st.lists(inner, max_size=3).map(tuple))
            for many in (SerialAction, ParallelAction, CodependentAction)
        ),
    ),
    max_leaves=12,
)
CHECKS = (Check(tcp_check=TCPCheck(port=8080)),)
RUN_INFOS = st.builds(
    RunInfo,
    setup=st.none() | TREES,
    action=TREES,
    monitor=st.none() | TREES,
    sidecars=st.lists(st.builds(Sidecar, action=TREES), max_size=2).map(tuple),
    check_definition=st.none()
    | st.builds(CheckDefinition, checks=st.just(CHECKS), readiness_checks=st.just(CHECKS)),
)


def paths_of(run_info: RunInfo) -> list[str]:
    """The paths of all nodes, in the order in which they are built. Nothing is run."""
    unused: Any = None
    context = StepContext(
        tools=StepTools(
            engine=unused,
            fetcher=unused,
            uploader=unused,
            settings=StepSettings(post_setup_hook=("/hook",)),
        ),
        container=Container(guid="ig"),
        engine_container=EngineContainer(guid="ig", id="id", init_pid=1, address="10.0.0.2"),
        logs=LogStreamer(unused, LogConfig()),
    )
    paths: list[str] = []

    def traced(_self: StepContext, step: Step, node: Node) -> Step:
        paths.append(node.path)
        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepContext, "traced", traced)
        build_container_step(run_info, context)
    return paths


def size(action: Action | None) -> int:
    return 0 if action is None else 1 + sum(size(child) for child in children(action))


def watchers(run_info: RunInfo) -> int:
    """Monitor and readiness are one node each."""
    if run_info.check_definition is not None:
        return 2
    return int(run_info.monitor is not None)


@given(RUN_INFOS)
def test_every_node_has_a_path_of_its_own(run_info: RunInfo) -> None:
    paths = paths_of(run_info)
    trees = (run_info.setup, run_info.action, *(sidecar.action for sidecar in run_info.sidecars))
    assert len(set(paths)) == len(paths) == sum(map(size, trees)) + watchers(run_info) + 1


@given(RUN_INFOS)
def test_a_tree_has_the_same_paths_in_the_next_life(run_info: RunInfo) -> None:
    assert paths_of(decode(RunInfo, encode(run_info))) == paths_of(run_info)


def test_a_path_names_the_position_of_its_action() -> None:
    download, run = DownloadAction(to="/d"), RunAction(path="/app")
    run_info = RunInfo(
        setup=SerialAction(actions=(EmitProgressAction(action=download), download)),
        action=CodependentAction(actions=(TimeoutAction(action=run), TryAction(action=run))),
        sidecars=(Sidecar(action=run),),
        monitor=ParallelAction(actions=(run, run)),
    )
    assert sorted(paths_of(run_info)) == [
        "action/codependent",
        "action/codependent[0]/timeout",
        "action/codependent[0]/timeout/run",
        "action/codependent[1]/try",
        "action/codependent[1]/try/run",
        "monitor",
        "post-setup/run",
        "setup/serial",
        "setup/serial[0]/emit-progress",
        "setup/serial[0]/emit-progress/download",
        "setup/serial[1]/download",
        "sidecar[0]/run",
    ]
