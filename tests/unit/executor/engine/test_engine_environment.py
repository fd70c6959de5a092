"""Merging of environments, defaults, and variables that a shell would change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.engine.arguments import quoted
from executor.environment import image_env, merge_env, with_defaults

pytestmark = pytest.mark.unit

names = st.text(alphabet="ABab_.-1", min_size=1, max_size=3)
layers = st.lists(st.lists(st.tuples(names, st.text(max_size=3))))


def test_a_name_keeps_its_first_place_and_its_last_value() -> None:
    image, client, cell = [("A", "1"), ("B", "1")], [("C", "2"), ("A", "2")], [("B", "3"), ("D", "3")]
    assert merge_env(image, client, cell) == (("A", "2"), ("B", "3"), ("C", "2"), ("D", "3"))


@given(layers)
def test_merging_twice_changes_nothing(given_layers: list[list[tuple[str, str]]]) -> None:
    merged = merge_env(*given_layers)
    assert merge_env(merged) == merged
    assert dict(merged) == {name: value for layer in given_layers for name, value in layer}


def test_lines_of_an_image() -> None:
    assert image_env(["A=1=2", "B=", "C", "A=3"]) == (("A", "3"), ("B", ""), ("C", ""))


@pytest.mark.parametrize(
    ("uid", "user", "path", "name"),
    [
        (0, "", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "root"),
        (2000, "vcap", "/usr/local/bin:/usr/bin:/bin", "vcap"),
        (2000, "2000:50", "/usr/local/bin:/usr/bin:/bin", "2000:50"),
    ],
)
def test_defaults_where_absent(uid: int, user: str, path: str, name: str) -> None:
    env = with_defaults((("A", "1"),), uid=uid, user=user, home="/home")
    assert env == (("A", "1"), ("PATH", path), ("USER", name), ("HOME", "/home"))


def test_defaults_replace_nothing() -> None:
    given_env = (("HOME", ""), ("PATH", "/x"), ("USER", "u"))
    assert with_defaults(given_env, uid=0, user="root", home="/root") == given_env


def test_an_environment_goes_through_shells_under_harmless_names() -> None:
    variables, words = quoted((("my-var", "a b"), ("IFS", ""), ("A", "1=2\n")))
    assert variables == ["E0=my-var=a b", "E1=IFS=", "E2=A=1=2\n"]
    assert words == '"$E0" "$E1" "$E2"'
