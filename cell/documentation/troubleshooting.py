"""The page of failure texts: what each means and what to do.

Texts and meanings come from the code: the constants of placement errors, and the error types with the first
line of their docstring. ``python -m cell.documentation.troubleshooting`` writes the document; a test compares
it with the code and finds error types without an entry.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import executor
from bbs.client.tls import CertificateExpired, TLSConfigurationError
from bbs.client.transport import EndpointNotFoundError, OversizedAnswerError, UnansweredError
from bbs.embedded.auctioneer.constraints import NO_DRIVERS, NO_ROOTFS, no_tags_text
from bbs.embedded.auctioneer.schedule import IN_FLIGHT_LIMIT, INSUFFICIENT, NO_CELLS
from bbs.embedded.store.database import StoreError
from bbs.embedded.store.statefolder import SharedFolder
from bbs.models.auction import Demand
from bbs.serving.address import ListenError
from cell.assembly.locks import AlreadyInUse
from cell.assembly.orphans import RepRuns
from cell.assembly.telemetry import TelemetryError
from cell.development.bundle import BundleError
from cell.development.slots import NoFreeSlot
from cell.development.stack import StackError
from cell.errors import BadInput, CommandError
from executor import errors as of_executor
from executor.cache.api import ArchiveError, ChecksumError, DownloadError, UploadError
from executor.cache.transport import InvalidURL
from executor.containers.creation import CreationFailed
from executor.containment import InternalError
from executor.engine.faults import ImageMissing
from executor.errors import ExecutorError
from executor.identity.authority import IdentityError
from executor.journal.api import JournalError
from executor.network.addresses import NoFreeAddresses
from executor.privatedir import NotPrivate
from executor.steps import base as of_steps
from executor.steps.base import StepError
from executor.steps.children import CombinedError
from executor.steps.group import CredentialRunnerExited
from executor.steps.records import RecordedError
from executor.volumes.api import VolumeError
from healthcheck.failure import ProbeError
from rep.config.parse import ConfigError
from rep.config.validate import InvalidConfig
from rep.rootfs import UnknownStack
from rep.runrequest import RunRequestError

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"

HEAD: Final = """\
# Troubleshooting

This document is made from the code by `python -m cell.documentation.troubleshooting`.

First steps:

- `systemctl status diego-cell`, then `journalctl -u diego-cell -p warning` on the cell.
- `cell rep --check-config /etc/diego-cell/rep.json` lists every problem of the configuration at once.
- `cell outcomes` lists what the BBS has not answered, and why; `cell orphans` containers without a record.
- `journalctl -u diego-cell | grep GUID` shows each line about one instance.
- `cell support-bundle` collects versions, configuration without secrets, states and logs in one file.
"""

PLACEMENT: Final[Mapping[str, tuple[str, str]]] = {
    NO_CELLS: (
        "The auctioneer knows no cell, or no cell answers.",
        "`cell cells` lists the registered ones; the log of a cell says why it is not among them.",
    ),
    NO_ROOTFS: (
        "No cell has the stack, or no cell accepts images of this kind.",
        "Compare `root_fs` with `preloaded_root_fs` of the cells.",
    ),
    NO_DRIVERS: (
        "No cell has the volume driver.",
        "Compare the mount's driver with the files in `volman_driver_paths`.",
    ),
    no_tags_text(Demand(placement_tags=("TAG",))): (
        "No cell has these placement tags, or all cells require tags that the work does not have.",
        "Compare with `placement_tags` and `optional_placement_tags` of the cells.",
    ),
    INSUFFICIENT: (
        "The stack exists, but no cell has room. What follows is short on every cell.",
        "Add cells, or lower the limits of the work. `cell cells --state` shows what is left.",
    ),
    IN_FLIGHT_LIMIT: (
        "As many containers are starting as the auctioneer allows.",
        "Wait: convergence asks again within 30 s.",
    ),
}
"""Placement errors: text -> (cause, cure)."""

INSTANCES: Final[Mapping[type[BaseException], str]] = {
    RunRequestError: "Correct the part of the LRP or Task that the text names.",
    UnknownStack: "Use a stack of the cell, or add it to `preloaded_root_fs`.",
    of_executor.ContainerGuidNotAvailable: "Nothing: the control plane finds the container running.",
    of_executor.InsufficientResourcesAvailable: "Nothing: other work was faster; the auction repeats.",
    of_executor.ContainerNotFound: "Nothing, if the container has just ended.",
    of_executor.GuidNotSpecified: "The caller must send a guid.",
    of_executor.ContainerGuidInvalid: "Use letters, digits, `-`, `_` and `.`.",
    of_executor.InvalidStateTransition: "Nothing: a late call for a container that has moved on.",
    of_executor.LimitsInvalid: "Send limits of 0 or more.",
    of_executor.HandedOver: "Nothing: the next process of the cell answers.",
    of_executor.EmptyAction: "Give the LRP or Task an action.",
    CreationFailed: "The text names the part; the cell's log has the engine's message for this guid.",
    of_executor.EngineError: "Look into the engine's log: `journalctl -u docker`.",
    of_executor.ContainerGone: "Look for `docker rm`, `docker kill` or an engine without live-restore.",
    of_executor.EngineUnavailable: "Start the engine; the cell recovers by itself.",
    of_executor.ImageError: "Check the image's name, its registry's address, and the credentials of the LRP.",
    ImageMissing: "Nothing: the cell makes or pulls the image again.",
    of_executor.ProcessStartError: "Check `path`, `dir` and `user` of the action against the image.",
    of_executor.NoSuchFile: "Check the path of the upload or of the result file.",
    of_executor.FileTooLarge: "Write a smaller file.",
    of_executor.NetworkError: "The cell's log has the kernel's message for this guid.",
    of_executor.NoFreePorts: "Raise `host_port_count`, or lower the number of ports of an LRP.",
    NoFreeAddresses: "Choose a larger `network_subnet`.",
    InternalError: "A fault of the cell. Its log has the trace under this guid; please report it.",
    DownloadError: "`curl -v URL` from the cell: name, route, certificate, status.",
    ChecksumError: "Compare `checksum_value` with the file on the server.",
    ArchiveError: "Unpack the file by hand; pack it again as tar, tgz or zip. Limits: `archive_*` keys.",
    InvalidURL: "Correct the URL in the action.",
    UploadError: "Check the server of the upload; the text has its status.",
    VolumeError: "Check the driver's process and its spec file; its log has the cause.",
    IdentityError: "Check the files of `instance_identity_*`: readable, not expired, a CA.",
    CredentialRunnerExited: "A fault of the cell. Its log has the trace under this guid; please report it.",
    JournalError: "Free space in `state_dir`, or mount it writable; the cell recovers by itself.",
    StepError: "The path in the text names the step. `cell run` executes the same tree and shows each step.",
    of_steps.EmittableError: "The text is the app's own failure: read the lines of the log before it.",
    of_steps.StepCancelled: "Nothing: the container was stopped, or a sibling failed first.",
    of_steps.ExceededGracefulShutdownInterval: "Let the app end within ten seconds of SIGTERM.",
    of_steps.ExitTimeout: "The process hangs in the kernel: look for a dead network file system.",
    of_steps.CodependentExited: "Let the process run in the foreground; the lines before say why it ended.",
    CombinedError: "Each part of the text is the failure of one child.",
    RecordedError: "The step failed before a restart of the cell; the text is its own.",
    ProbeError: "Let the app listen on the checked port, on all addresses, within the start timeout.",
}
"""Error types of instances and Tasks -> cure."""

STARTS: Final[Mapping[type[BaseException], str]] = {
    ConfigError: "Correct the key that the text names. Exit status 2: systemd does not repeat it.",
    InvalidConfig: "`cell rep --check-config` lists all problems.",
    AlreadyInUse: "Stop the process that the text names, or change the key that it names.",
    TLSConfigurationError: "Check the file: PEM, readable by root, certificate and key of one pair.",
    CertificateExpired: "Renew the file; the cell reads it within 5 s.",
    ListenError: "`ss -ltnp` shows who has the address.",
    TelemetryError: "Correct the entry of `log_sinks` or the `loggregator` object.",
    NotPrivate: "Give the directory to root, mode 0700, or choose another `state_dir`.",
    SharedFolder: "Choose a folder of its own as state folder.",
    StoreError: "Check space and rights of the state folder. A file of a newer version needs that version.",
    UnansweredError: "Check `bbs_address`, the route to it and its certificate.",
    EndpointNotFoundError: "The BBS is older than the call; compare versions.",
    OversizedAnswerError: "Split the domains, or raise the limit of the client.",
    StackError: "Install the program that the text names (`make demo` does it on Debian).",
    BundleError: "Install `gcc`, and make Debian's archive reachable; or install the package.",
    NoFreeSlot: "Stop another `cell dev`.",
    RepRuns: "Ask the rep: `cell orphans` through its admin listener.",
    BadInput: "Correct the place that the text names. Exit status 2.",
    CommandError: "The text has the remedy. Exit status 1 or 3.",
}
"""Error types of a start of a program -> cure."""

ABSTRACT: Final = frozenset({ExecutorError})
"""Base types without instances of their own."""


def document() -> str:
    """The whole page as Markdown."""
    return "\n".join(_lines()).rstrip() + "\n"


def undocumented() -> set[type[BaseException]]:
    """Error types that a container can end with, and that this page lacks."""
    for module in pkgutil.walk_packages(executor.__path__, "executor."):
        importlib.import_module(module.name)
    found = set(_public_subclasses(ExecutorError)) | set(_public_subclasses(StepError))
    return found - INSTANCES.keys() - ABSTRACT


def _public_subclasses(cls: type[BaseException]) -> Iterator[type[BaseException]]:
    for each in cls.__subclasses__():
        if each.__module__.startswith("executor.") and not each.__name__.startswith("_"):
            yield each
            yield from _public_subclasses(each)


def _lines() -> Iterator[str]:
    yield HEAD
    yield "## Work is not placed\n"
    yield "The `placement_error` of an instance, or the failure reason of a Task.\n"
    yield from _table(("Text", "Cause", "Cure"))
    for text, (cause, cure) in PLACEMENT.items():
        yield _row(f"`{text}`", cause, cure)
    yield "\n## An instance or a Task fails\n"
    yield "The crash reason of an instance, the failure reason of a Task, or a line of its log.\n"
    yield from _errors(INSTANCES)
    yield "\n## A program does not start, or a command fails\n"
    yield from _errors(STARTS)


def _errors(cures: Mapping[type[BaseException], str]) -> Iterator[str]:
    yield from _table(("Error", "Text", "Meaning", "Cure"))
    for cls, cure in cures.items():
        text = getattr(cls, "text", "")
        shown = f"`{text}`" if isinstance(text, str) and text else "its own"
        meaning = (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
        yield _row(f"`{cls.__name__}`", shown, meaning, cure)


def _table(titles: tuple[str, ...]) -> Iterator[str]:
    yield _row(*titles)
    yield "|" + "---|" * len(titles)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
