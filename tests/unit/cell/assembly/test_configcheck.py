"""`cell rep --check-config` and `--print-config`: all problems of a file, and its effective values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from cell.assembly import configcheck

if TYPE_CHECKING:
    from cell.development.certs import Authority
    from tests.unit.cell.conftest import Shell

pytestmark = pytest.mark.unit

SOUND = {"cell_id": "cell-1", "bbs_address": "http://127.0.0.1:8889", "locket_address": "127.0.0.1:8891"}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A rep.json with these keys besides those every cell needs."""

    def to_file(**values: Any) -> Path:
        path = tmp_path / "rep.json"
        path.write_text(json.dumps({**SOUND, **values}))
        return path

    return to_file


def test_nothing_is_wrong(write: Write, shell: Shell) -> None:
    path = write()
    ended = shell("rep", "--check-config", str(path))
    assert (ended.status, ended.lines) == (0, [f"{path}: a cell can start with this configuration"])


def test_everything_that_is_wrong_at_once(write: Write, shell: Shell) -> None:
    path = write(
        cell_id=5,
        Loggregator={"loggregator_api_port": "x", "loggregator_source_id": 1},
        polling_interval=30,
        healthy_monitoring_interval="0s",
        memory_mb="lots",
        bbs_address="bbs",
        bbs_adress="https://bbs",
    )
    ended = shell("rep", "--check-config", str(path))
    assert ended.status == 2
    assert [line.removeprefix(f"{path}: ") for line in ended.lines] == [
        'problem: key "cell_id": expected a string, got the number 5',
        'problem: key "loggregator.loggregator_api_port": expected a whole number, got the string "x"',
        'problem: key "loggregator.loggregator_source_id": expected a string, got the number 1',
        'problem: key "polling_interval": expected a duration such as "30s", "500ms" or "1m30s",'
        " got the number 30",
        "problem: healthy_monitoring_interval must be longer than 0s (healthy-monitoring-interval-invalid)",
        "problem: memory_mb is 'lots' (memory limit must be a positive number or 'auto')",
        "problem: bbs_address is 'bbs', expected an https URL (invalid-bbs-address)",
        "problem: ca_cert_file, cert_file, key_file must be given (missing-tls-files)",
        'warning: unknown key "bbs_adress" is ignored; did you mean "bbs_address"?',
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"preloaded_root_fs": ["cflinuxfs4"]},
            'key "preloaded_root_fs": expected texts such as "stack-name:path"',
        ),
        (
            {"preloaded_root_fs": ["a:/a", "b:/b"], "sidecar_root_fs": "c"},
            'key "sidecar_root_fs": expected a stack of this cell (a, b), got "c"',
        ),
        ({"log_sinks": ["nowhere"]}, "log_sinks: "),
        ({"sidecar_root_fs": "c"}, 'key "sidecar_root_fs": expected a stack of this cell (none), got "c"'),
    ],
)
def test_values_that_name_nothing(values: dict[str, Any], problem: str, write: Write) -> None:
    (found,) = configcheck.check(write(**values)).problems
    assert found.startswith(problem)


class TestCertificates:
    @staticmethod
    def _keys(authority: Authority, folder: Path, **more: Any) -> dict[str, str]:
        rep = authority.issue(folder, "rep", **more)
        return {
            "ca_cert_file": str(rep.ca_file),
            "cert_file": str(rep.cert_file),
            "key_file": str(rep.key_file),
        }

    def test_good_ones(self, authority: Authority, write: Write, tmp_path: Path) -> None:
        assert configcheck.check(write(**self._keys(authority, tmp_path))).problems == ()

    def test_one_that_is_not_there(self, authority: Authority, write: Write, tmp_path: Path) -> None:
        keys = {**self._keys(authority, tmp_path), "cert_file": "/no/rep.crt"}
        (found,) = configcheck.check(write(**keys)).problems
        assert found.startswith('key "cert_file": cannot read certificate /no/rep.crt')

    def test_one_that_does_not_name_loopback(
        self, authority: Authority, write: Write, tmp_path: Path
    ) -> None:
        keys = self._keys(authority, tmp_path, names=[x509.DNSName("cell.example.com")])
        (found,) = configcheck.check(write(**keys)).problems
        assert found.endswith("has no IP subject alternative name 127.0.0.1")

    def test_lockets_key_of_another_certificate(
        self, authority: Authority, write: Write, tmp_path: Path
    ) -> None:
        keys = self._keys(authority, tmp_path)
        other = authority.issue(tmp_path, "other")
        keys["locket_ca_cert_file"], keys["locket_client_cert_file"] = keys["ca_cert_file"], keys["cert_file"]
        keys["locket_client_key_file"] = str(other.key_file)
        (found,) = configcheck.check(write(**keys)).problems
        assert found.startswith('key "locket_client_cert_file": cannot use certificate')


def test_a_file_that_is_no_configuration(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "rep.json"
    path.write_text("{")
    ended = shell("rep", "--check-config", str(path))
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"rep: {path}: is not JSON: ")


def test_values_and_where_they_came_from(write: Write, shell: Shell) -> None:
    path = write(zone="z1", polling_interval="90s", placement_tags=["a"])
    ended = shell("rep", "--print-config", str(path), "-zone", "z2")
    rows = [line.split() for line in ended.lines]
    assert ended.status == 0
    assert rows[0] == ["KEY", "VALUE", "FROM"]
    assert {row[0] for row in rows[1:] if row[-1] != "default"} == {
        *SOUND, "zone", "polling_interval", "placement_tags",
    }  # fmt: skip
    assert ["polling_interval", '"1m30s"', "file"] in rows
    assert ["placement_tags", '["a"]', "file"] in rows
    assert ["zone", '"z2"', "flag"] in rows
    assert ["evacuation_timeout", '"10m0s"', "default"] in rows
    assert ["loggregator.loggregator_api_port", "3458", "default"] in rows


def test_values_as_json_read_back_as_the_same(write: Write, shell: Shell, tmp_path: Path) -> None:
    path = write(zone="z1", polling_interval="90s")
    values = json.loads(shell("rep", "--print-config", str(path), "--json").stdout)
    assert values["polling_interval"] == {"value": "1m30s", "source": "file"}
    assert values["zone"] == {"value": "z1", "source": "file"}
    document: dict[str, Any] = {"loggregator": {}}
    for key, one in values.items():
        outer, _, inner = key.partition(".")
        if inner:
            document[outer][inner] = one["value"]
        else:
            document[key] = one["value"]
    again = tmp_path / "again.json"
    again.write_text(json.dumps(document))
    assert configcheck.check(again).config == configcheck.check(path).config


def test_what_is_wrong_is_told_beside_the_values(write: Write, shell: Shell) -> None:
    path = write(polling_interval=30)
    ended = shell("rep", "--print-config", str(path))
    assert ended.status == 2
    assert 'key "polling_interval": expected a duration' in ended.stderr
    assert ["polling_interval", '"30s"', "default"] in [line.split() for line in ended.lines]


def test_a_cell_needs_a_configuration(shell: Shell) -> None:
    ended = shell("rep")
    assert (ended.status, ended.stderr) == (2, "rep: -config FILE is missing\n")
