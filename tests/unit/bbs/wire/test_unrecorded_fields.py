"""Fields and messages without a recording, compared with hand-written bytes.

Each expected encoding is a list of fields as the protocol's tables give them: number, kind, value.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from bbs.models.desired_lrp import DesiredLRP, UpdateStrategy
from bbs.wire.mapping import to_model
from bbs.wire.messages import message_class

pytestmark = pytest.mark.unit

Field = tuple[int, int | str | bytes]


def varint(value: int) -> bytes:
    """Seven bits at a time, the lowest first; a set high bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def encoded(*fields: Field) -> bytes:
    """Numbers are varints (wire type 0), all else has a length in front (wire type 2)."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


RUN: dict[str, Any] = {"run_action": {"path": "a", "user": "u"}}
RUN_BYTES = encoded((3, encoded((1, "a"), (6, "u"))))
FILE = encoded((1, "p"), (2, "text"))
ERROR = encoded((1, 13), (2, "m"))
ERROR_FIELD = {"type": "ResourceNotFound", "message": "m"}

CASES: list[tuple[str, dict[str, Any], bytes]] = [
    (
        "UploadAction",
        {"artifact": "a", "from": "f", "to": "t", "log_source": "l", "user": "u"},
        encoded((1, "a"), (2, "f"), (3, "t"), (4, "l"), (5, "u")),
    ),
    ("ResourceLimits", {"nofile": 0, "nproc": 300}, encoded((1, 0), (2, 300))),
    (
        "TimeoutAction",
        {"action": RUN, "log_source": "l", "timeout_ms": 1500},
        encoded((1, RUN_BYTES), (3, "l"), (4, 1500)),
    ),
    (
        "EmitProgressAction",
        {"action": RUN, "start_message": "s", "log_source": "l"},
        encoded((1, RUN_BYTES), (2, "s"), (5, "l")),
    ),
    ("TryAction", {"action": RUN, "log_source": "l"}, encoded((1, RUN_BYTES), (2, "l"))),
    (
        "ParallelAction",
        {"actions": [RUN, RUN], "log_source": "l"},
        encoded((1, RUN_BYTES), (1, RUN_BYTES), (2, "l")),
    ),
    ("CodependentAction", {"actions": [RUN], "log_source": "l"}, encoded((1, RUN_BYTES), (2, "l"))),
    ("ActualLRPNetInfo", {"address": "h", "instance_ipv6_address": "::1"}, encoded((1, "h"), (5, "::1"))),
    (
        "PortMapping",
        {
            "container_port": 8080,
            "host_port": 0,
            "container_tls_proxy_port": 61001,
            "host_tls_proxy_port": 61002,
        },
        encoded((1, 8080), (3, 61001), (4, 61002)),
    ),
    ("File", {"path": "p", "content": b"text"}, FILE),
    (
        "RunAction",
        {"path": "a", "user": "u", "volume_mounted_files": [{"path": "p", "content": b"text"}]},
        encoded((1, "a"), (6, "u"), (9, FILE)),
    ),
    ("HTTPCheck", {"port": 80, "path": "/", "interval_ms": 250}, encoded((1, 80), (3, "/"), (4, 250))),
    (
        "CachedDependency",
        {"from": "f", "to": "t", "checksum_algorithm": "md5", "checksum_value": "v"},
        encoded((2, "f"), (3, "t"), (6, "md5"), (7, "v")),
    ),
    (
        "VolumeMount",
        {
            "driver": "d",
            "container_dir": "/c",
            "mode": "rw",
            "dedicated": {"mounter_id": "i", "mount_config": "m", "device_config": "v"},
        },
        encoded((1, "d"), (3, "/c"), (6, "rw"), (8, encoded((1, "i"), (2, "m"), (3, "v")))),
    ),
    (
        "DesiredLRPUpdate",
        {"instances": 0, "annotation": b"", "image_username": "", "image_password": "p"},
        encoded((1, 0), (3, ""), (5, ""), (6, "p")),
    ),
    ("DesiredLRPsRequest", {"domain": "d", "app_guids": ["x", "y"]}, encoded((1, "d"), (3, "x"), (3, "y"))),
    (
        "ActualLRPGroupByProcessGuidAndIndexRequest",
        {"process_guid": "p", "index": 300},
        encoded((1, "p"), (2, 300)),
    ),
    ("ActualLRPGroupsRequest", {"cell_id": "c"}, encoded((2, "c"))),
    ("ActualLRPsByProcessGuidsResponse", {"error": ERROR_FIELD}, encoded((1, ERROR))),
    ("ActualLRPsResponse", {"error": ERROR_FIELD}, encoded((1, ERROR))),
    ("CellsResponse", {"error": ERROR_FIELD}, encoded((1, ERROR))),
    ("DesiredLRPsResponse", {"error": ERROR_FIELD}, encoded((1, ERROR))),
    ("DesiredLRPSchedulingInfosResponse", {"error": ERROR_FIELD}, encoded((1, ERROR))),
    ("DomainsResponse", {"error": ERROR_FIELD}, encoded((1, ERROR))),
    ("TasksResponse", {"error": ERROR_FIELD}, encoded((1, ERROR))),
    (
        "CellPresence",
        {"cell_id": "c", "annotations": {"k": "v"}},
        encoded((1, "c"), (9, encoded((1, "k"), (2, "v")))),
    ),
    (
        "TaskCallbackResponse",
        {
            "task_guid": "t",
            "failed": True,
            "failure_reason": b"f",
            "result": b"r",
            "annotation": b"a",
            "created_at": 1 << 40,
        },
        encoded((1, "t"), (2, 1), (3, "f"), (4, "r"), (5, "a"), (6, 1 << 40)),
    ),
    (
        "DesiredLRPRunInfo",
        {
            "desired_lrp_key": {"process_guid": "p", "domain": "d", "log_guid": "l"},
            "environment_variables": [{"name": "n", "value": b"v"}],
            "setup": RUN,
            "action": RUN,
            "monitor": RUN,
            "deprecated_start_timeout_s": 5,
            "privileged": True,
            "cpu_weight": 50,
            "ports": [8080, 2222],
            "log_source": "APP",
            "metrics_guid": "m",
            "created_at": 7,
            "legacy_download_user": "u",
            "trusted_system_certificates_path": "/t",
            "start_timeout_ms": 5000,
            "image_username": "iu",
            "image_password": "ip",
            "volume_mounted_files": [{"path": "p", "content": b"text"}],
        },
        encoded(
            (1, encoded((1, "p"), (2, "d"), (3, "l"))),
            (2, encoded((1, "n"), (2, "v"))),
            (3, RUN_BYTES),
            (4, RUN_BYTES),
            (5, RUN_BYTES),
            (6, 5),
            (7, 1),
            (8, 50),
            (9, 8080),
            (9, 2222),
            (11, "APP"),
            (12, "m"),
            (13, 7),
            (15, "u"),
            (16, "/t"),
            (19, 5000),
            (21, "iu"),
            (22, "ip"),
            (28, FILE),
        ),
    ),
]


def built(name: str, fields: dict[str, Any]) -> Message:
    """``from`` is a word of Python; so fields are given as a dictionary. What users write is bytes to us."""
    made: Message = message_class(name)(**fields)
    return made


@pytest.mark.parametrize(("name", "fields", "expected"), CASES, ids=[case[0] for case in CASES])
def test_as_the_tables_say(name: str, fields: dict[str, Any], expected: bytes) -> None:
    message = built(name, fields)
    assert message.SerializeToString(deterministic=True) == expected
    assert message_class(name).FromString(expected) == message


def test_ports_are_understood_packed_as_well() -> None:
    packed = encoded((9, varint(8080) + varint(2222)))
    run_info: Any = message_class("DesiredLRPRunInfo").FromString(packed)
    assert list(run_info.ports) == [8080, 2222]


def test_a_strategy_and_high_field_numbers() -> None:
    expected = encoded((1, "p"), (13, 1), (38, FILE), (39, 1))
    lrp: Any = message_class("DesiredLRP").FromString(expected)
    assert (lrp.process_guid, lrp.privileged, lrp.volume_mounted_files[0].content) == ("p", True, b"text")
    assert to_model(lrp, DesiredLRP).update_strategy is UpdateStrategy.RECREATE
    assert lrp.SerializeToString() == expected
