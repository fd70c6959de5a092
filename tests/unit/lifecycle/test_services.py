"""VCAP_APPLICATION and DATABASE_URL."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.gojson import JSONError
from lifecycle.services import complete_application, set_database_url

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"VCAP_APPLICATION": "{}"}, '{"host":"0.0.0.0","instance_id":""}'),
        (
            {"VCAP_APPLICATION": '{"b":1}', "PORT": "8080", "INSTANCE_GUID": "g", "INSTANCE_INDEX": "3"},
            '{"b":1,"host":"0.0.0.0","instance_id":"g","instance_index":3,"port":8080}',
        ),
        (
            {"VCAP_APPLICATION": '{"port":9,"host":1}', "PORT": "80a", "INSTANCE_INDEX": ""},
            '{"host":"0.0.0.0","instance_id":"","port":9}',
        ),
        ({"VCAP_APPLICATION": "{bad"}, "{bad"),
        ({"VCAP_APPLICATION": ""}, ""),
        ({"VCAP_APPLICATION": "[1]"}, "[1]"),
        ({"VCAP_APPLICATION": "null"}, "null"),
        ({}, None),
    ],
)
def test_application(environment: dict[str, str], expected: str | None) -> None:
    complete_application(environment)
    assert environment.get("VCAP_APPLICATION") == expected


def services(*credentials: Any) -> str:
    return json.dumps({"label": [{"credentials": one} for one in credentials]})


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (services({"uri": "mysql://h/d"}), "mysql2://h/d"),
        (services({"uri": "mysql2://h/d"}), "mysql2://h/d"),
        (services({"uri": "postgresql://h/d"}), "postgres://h/d"),
        (services({"uri": "PostgreSQL://h/d"}), "postgres://h/d"),
        (services({"uri": "redis://h"}, {"uri": "mysql://one"}, {"uri": "postgres://two"}), "mysql2://one"),
        (services({"uri": "mysql://h:bad port/"}, {"uri": "postgres://two"}), "postgres://two"),
        (services({"uri": ""}, {}, None, {"uri": None}, {"uri": "mysql://x"}), "mysql2://x"),
        ('{"a":null,"b":[null,{}],"c":[{"credentials":{"uri":"mysql:x"}}]}', "mysql2:x"),
        (
            '{"z":[{"credentials":{"uri":"mysql://z"}}],"a":[{"credentials":{"uri":"mysql://a"}}]}',
            "mysql2://z",
        ),
        (services({"uri": "redis://h/"}), "before"),
        ("{}", "before"),
        ("null", "before"),
        ("", "before"),
    ],
)
def test_database_url(given: str, url: str) -> None:
    environment = {"VCAP_SERVICES": given, "DATABASE_URL": "before"}
    set_database_url(environment)
    assert environment["DATABASE_URL"] == url


@pytest.mark.parametrize(
    "given",
    [
        "{bad",
        "[]",
        '{"p":{}}',
        '{"p":["x"]}',
        services("x"),
        services({"uri": 1}),
        services({"uri": "mysql://x"}, {"uri": []}),
    ],
)
def test_services_that_cannot_be_decoded_change_nothing(given: str) -> None:
    environment = {"VCAP_SERVICES": given}
    with pytest.raises(JSONError):
        set_database_url(environment)
    assert environment == {"VCAP_SERVICES": given}


@pytest.mark.parametrize("depth", [600, 100_000])
def test_an_application_nested_beyond_reason_is_left_alone(depth: int) -> None:
    given = '{"a":' * depth + "1" + "}" * depth
    environment = {"VCAP_APPLICATION": given}
    complete_application(environment)
    assert environment["VCAP_APPLICATION"] == given
