"""The page of failure texts is current and complete."""

from __future__ import annotations

import pytest

from cell.documentation.troubleshooting import DOCUMENT, INSTANCES, PLACEMENT, STARTS, document, undocumented

pytestmark = pytest.mark.unit


def test_the_page_is_current() -> None:
    assert DOCUMENT.read_text() == document(), "run `python -m cell.documentation.troubleshooting`"


def test_each_error_of_an_instance_has_a_cure() -> None:
    assert undocumented() == set()


def test_each_entry_is_a_sentence() -> None:
    cures = [*INSTANCES.values(), *STARTS.values(), *(cure for _, cure in PLACEMENT.values())]
    assert [cure for cure in cures if not cure.endswith(".")] == []
    assert all(cls.__doc__ for cls in (*INSTANCES, *STARTS))
