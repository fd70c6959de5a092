"""Choice of the BBS, and messages if there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bbs.client.identity import IdentityFiles
from bbs.client.tls import server_context
from bbs.wire.proto.domain_pb2 import DomainsResponse
from cell.development.certs import Authority
from cell.development.endpoints import published

if TYPE_CHECKING:
    from tests.unit.cell.conftest import ScriptedBBS, Shell

pytestmark = pytest.mark.unit

NOBODY = "http://127.0.0.1:1"
DOMAINS = DomainsResponse(domains=["d"])


@pytest.fixture
def cell_dev() -> Iterator[Callable[..., Path]]:
    """Leaves a state folder as a running ``cell dev`` has it: ``cell_dev(folder, bbs, tls)``."""
    with ExitStack() as running:

        def start(folder: Path, bbs: str, tls: IdentityFiles | None = None) -> Path:
            endpoints: dict[str, object] = {"bbs": bbs, "locket": "127.0.0.1:1", "cells": []}
            if tls is not None:
                files = {"ca": str(tls.ca_file), "cert": str(tls.cert_file), "key": str(tls.key_file)}
                endpoints["tls"] = files
            folder.mkdir()
            running.enter_context(published(folder, endpoints))
            return folder

        yield start


@pytest.mark.parametrize("how", ["option", "variable", "cell dev", "option wins", "state-dir wins"])
def test_where_to_ask(
    how: str, bbs: ScriptedBBS, shell: Shell, tmp_path: Path, cell_dev: Callable[..., Path]
) -> None:
    bbs.answer(DOMAINS)
    arguments: list[str] = []
    env = {}
    match how:
        case "option":
            arguments = ["--bbs-url", bbs.url]
        case "variable":
            env = {"BBS_URL": bbs.url}
        case "cell dev":
            cell_dev(tmp_path / "no-cell-dev", bbs.url)
        case "option wins":
            arguments, env = ["--bbs-url", bbs.url], {"BBS_URL": NOBODY}
        case "state-dir wins":
            state_dir = cell_dev(tmp_path / "dev", bbs.url)
            arguments, env = ["--state-dir", str(state_dir)], {"BBS_URL": NOBODY}
    ended = shell("domains", *arguments, env=env)
    assert (ended.status, ended.stdout, ended.stderr) == (0, '"d"\n', "")


def test_no_bbs_at_all(shell: Shell, tmp_path: Path) -> None:
    ended = shell("lrps")
    assert ended.status == 3
    assert ended.stderr == (
        "Error: no BBS: name one with --bbs-url or BBS_URL, or start `cell dev` "
        f"({tmp_path}/no-cell-dev/endpoints.json does not exist)\n"
    )


def test_a_damaged_endpoints_file(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("[]")
    ended = shell("lrps", "--state-dir", str(tmp_path))
    assert ended.status == 3
    assert f"{tmp_path}/endpoints.json is not a file of `cell dev`: it is not a JSON object" in ended.stderr


def test_only_locket_is_known(shell: Shell) -> None:
    ended = shell("lrps", env={"LOCKET_API_LOCATION": "127.0.0.1:1"})
    assert (ended.status, ended.stderr) == (3, "Error: no BBS: name one with --bbs-url or BBS_URL\n")


def test_only_the_bbs_is_known(shell: Shell) -> None:
    ended = shell("locks", env={"BBS_URL": NOBODY})
    assert ended.status == 3
    assert "no Locket: name one with --locket-address or LOCKET_API_LOCATION" in ended.stderr


def test_nobody_answers(shell: Shell) -> None:
    ended = shell("lrps", env={"BBS_URL": NOBODY})
    assert ended.status == 4
    first, second, third, where = ended.stderr.splitlines()
    assert (first, second) == ("Error: BBS error", "Type 5: InvalidResponse")
    assert third.startswith(f"Message: {NOBODY}/v1/actual_lrps/list: ConnectionRefusedError")
    assert where == f"(the BBS at {NOBODY}, from BBS_URL)"


@pytest.mark.parametrize("variable", [True, False])
def test_a_bbs_that_takes_too_long(variable: bool, bbs: ScriptedBBS, shell: Shell) -> None:
    bbs.hold("/v1/domains/list", b"")
    env = {"BBS_URL": bbs.url, "CFDOT_TIMEOUT": "50ms" if variable else "1000"}
    ended = shell("domains", *([] if variable else ["--timeout", "50ms"]), env=env)
    assert ended.status == 4
    assert ended.stderr.splitlines()[1:3] == [
        "Type 31: Timeout",
        f"Message: {bbs.url}/v1/domains/list: no answer within 0.05 s",
    ]


def test_locket_is_asked_without_the_certificate_that_the_bbs_wants(shell: Shell) -> None:
    env = {"BBS_URL": "https://a", "LOCKET_API_LOCATION": "127.0.0.1:1"}
    ended = shell("locks", "--timeout", "5", env=env)
    assert ended.status == 4
    assert ended.stderr.startswith("Error: rpc error: code = Unavailable desc = ")


def test_locket_does_not_answer(shell: Shell) -> None:
    ended = shell("presences", "--locket-address", "127.0.0.1:1", "--timeout", "5")
    assert ended.status == 4
    assert ended.stderr.startswith("Error: rpc error: code = Unavailable desc = ")


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({"BBS_URL": "bbs.example.com:8889"}, "BBS_URL is 'bbs.example.com:8889': expected a URL such as"),
        ({"BBS_URL": "http://[::1"}, "expected a URL such as"),
        ({"BBS_URL": "http://a:0"}, "expected a URL such as"),
        ({"BBS_URL": "http://a/v1"}, "expected a URL such as"),
        (
            {"BBS_URL": NOBODY, "CFDOT_TIMEOUT": "soon"},
            "the timeout is 'soon': expected seconds, or a duration",
        ),
        ({"BBS_URL": NOBODY, "CFDOT_TIMEOUT": "-1s"}, "the timeout is '-1s'"),
        (
            {"BBS_URL": NOBODY, "SKIP_CERT_VERIFY": "maybe"},
            "SKIP_CERT_VERIFY is 'maybe': expected true or false",
        ),
        (
            {"BBS_URL": "https://a", "CLIENT_CERT_FILE": "c"},
            "requires a client certificate: give --cert and --key",
        ),
        (
            {"BBS_URL": "https://a", "CLIENT_CERT_FILE": "c", "CLIENT_KEY_FILE": "k"},
            "--ca-cert (CA_CERT_FILE) or --skip-cert-verify (SKIP_CERT_VERIFY)",
        ),
        (
            {
                "BBS_URL": "https://a",
                "CLIENT_CERT_FILE": "/no/c",
                "CLIENT_KEY_FILE": "k",
                "CA_CERT_FILE": "a",
            },
            "cannot read certificate /no/c",
        ),
    ],
)
def test_values_that_cannot_be_used(env: dict[str, str], complaint: str, shell: Shell) -> None:
    ended = shell("lrps", env=env)
    assert ended.status == 3
    assert complaint in ended.stderr


class TestTLS:
    @pytest.fixture
    def files(self, authority: Authority, tmp_path: Path) -> IdentityFiles:
        return authority.issue(tmp_path / "tls", "client")

    @pytest.fixture
    def secure(self, bbs: ScriptedBBS, files: IdentityFiles) -> Iterator[ScriptedBBS]:
        """Requires certificates of the same authority."""
        with bbs.serving(server_context(files.ca_file, files.cert_file, files.key_file)):
            bbs.answer(DOMAINS)
            yield bbs

    def _variables(self, bbs: ScriptedBBS, files: IdentityFiles) -> dict[str, str]:
        return {
            "BBS_URL": bbs.url,
            "CLIENT_CERT_FILE": str(files.cert_file),
            "CLIENT_KEY_FILE": str(files.key_file),
        }

    def test_with_cfdots_variables(self, secure: ScriptedBBS, files: IdentityFiles, shell: Shell) -> None:
        variables = self._variables(secure, files)
        assert shell("domains", env={**variables, "CA_CERT_FILE": str(files.ca_file)}).status == 0

    def test_with_what_cell_dev_left(
        self,
        secure: ScriptedBBS,
        files: IdentityFiles,
        shell: Shell,
        tmp_path: Path,
        cell_dev: Callable[..., Path],
    ) -> None:
        state_dir = cell_dev(tmp_path / "dev", secure.url, files)
        assert shell("domains", "--state-dir", str(state_dir)).status == 0

    def test_a_stranger_is_trusted_only_when_told_so(
        self, secure: ScriptedBBS, files: IdentityFiles, shell: Shell, tmp_path: Path
    ) -> None:
        stranger = Authority.create("stranger").issue(tmp_path / "stranger", "stranger")
        variables = {**self._variables(secure, files), "CA_CERT_FILE": str(stranger.ca_file)}
        refused = shell("domains", env=variables)
        assert refused.status == 4
        assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr
        assert shell("domains", env={**variables, "SKIP_CERT_VERIFY": "true"}).status == 0

    def test_locket_is_verified_in_any_case(self, files: IdentityFiles, shell: Shell) -> None:
        variables = {"CLIENT_CERT_FILE": str(files.cert_file), "CLIENT_KEY_FILE": str(files.key_file)}
        ended = shell("locks", "--locket-address", "127.0.0.1:1", "--skip-cert-verify", env=variables)
        assert ended.status == 3
        assert "give --ca-cert (CA_CERT_FILE)" in ended.stderr
