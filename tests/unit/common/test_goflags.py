"""The flag dialect of the in-container programs."""

from __future__ import annotations

import pytest

from common.goflags import FlagError, FlagExit, FlagSet
from common.gotext import SECOND

pytestmark = pytest.mark.unit


def even(text: str) -> int:
    if not text.isdigit() or int(text) % 2:
        raise FlagError(f"{text} is odd")
    return int(text)


@pytest.fixture
def flags() -> FlagSet:
    flags = FlagSet("tool")
    flags.string("name", "nobody", "who")
    flags.string("empty", "", "nothing")
    flags.boolean("fast", "hurry")
    flags.integer("count", 3, "how many")
    flags.duration("wait", SECOND, "how long")
    flags.custom("even", even, "two by two")
    return flags


@pytest.mark.parametrize("spelling", [["-name=x"], ["--name=x"], ["-name", "x"], ["--name", "x"]])
def test_spellings_are_equivalent(flags: FlagSet, spelling: list[str]) -> None:
    assert flags.parse([*spelling, "rest", "-count=9"]) == ["rest", "-count=9"]
    assert flags.text("name") == "x"
    assert flags.number("count") == 3


@pytest.mark.parametrize(
    ("arguments", "rest"),
    [
        ([], []),
        (["-"], ["-"]),
        (["-fast", "-", "-fast"], ["-", "-fast"]),
        (["--", "-bogus"], ["-bogus"]),
        (["", "-bogus"], ["", "-bogus"]),
    ],
)
def test_where_flags_end(flags: FlagSet, arguments: list[str], rest: list[str]) -> None:
    assert flags.parse(arguments) == rest


@pytest.mark.parametrize("text", ["true", "1", "t", "T", "TRUE", "True"])
def test_true(flags: FlagSet, text: str) -> None:
    flags.parse([f"-fast={text}"])
    assert flags.is_set("fast")


@pytest.mark.parametrize("text", ["false", "0", "f", "F", "FALSE", "False"])
def test_false(flags: FlagSet, text: str) -> None:
    flags.parse(["-fast", f"-fast={text}"])
    assert not flags.is_set("fast")


def test_a_boolean_takes_no_argument_of_its_own(flags: FlagSet) -> None:
    assert flags.parse(["-fast", "false"]) == ["false"]
    assert flags.is_set("fast")


def test_the_last_value_wins_and_an_empty_one_is_a_value(flags: FlagSet) -> None:
    flags.parse(["-name=a", "-name=", "-count=0x10", "-count=0b11", "-wait=1m", "-even=4"])
    assert flags.text("name") == ""
    assert flags.number("count") == 3
    assert flags.number("wait") == 60 * SECOND
    assert flags.value("even") == 4
    assert flags.strings() == [("empty", ""), ("name", "")]


def test_a_value_may_look_like_a_flag(flags: FlagSet) -> None:
    flags.parse(["-name", "-fast", "-empty=a=b"])
    assert flags.text("name") == "-fast"
    assert flags.text("empty") == "a=b"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-x"], "flag provided but not defined: -x"),
        (["--x=1"], "flag provided but not defined: -x"),
        (["-name"], "flag needs an argument: -name"),
        (["-count=x"], 'invalid value "x" for flag -count: parse error'),
        (["-count="], 'invalid value "" for flag -count: parse error'),
        (
            ["-count=99999999999999999999"],
            'invalid value "99999999999999999999" for flag -count: value out of range',
        ),
        (["-wait=5"], 'invalid value "5" for flag -wait: parse error'),
        (["-wait="], 'invalid value "" for flag -wait: parse error'),
        (["-even=3"], 'invalid value "3" for flag -even: 3 is odd'),
        (["-fast=maybe"], 'invalid boolean value "maybe" for -fast: parse error'),
        (["-fast="], 'invalid boolean value "" for -fast: parse error'),
        (["---x"], "bad flag syntax: ---x"),
        (["-=1"], "bad flag syntax: -=1"),
        (["--=1"], "bad flag syntax: --=1"),
    ],
)
def test_wrong_flags(
    flags: FlagSet, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FlagExit) as ending:
        flags.parse(arguments)
    assert ending.value.status == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{message}\nUsage of tool:\n")


@pytest.mark.parametrize("spelling", ["-h", "--h", "-help", "--help"])
def test_help_lists_the_flags_by_name(
    flags: FlagSet, spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FlagExit) as ending:
        flags.parse([spelling])
    assert ending.value.status == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Usage of tool:"
    names = [line.split()[0] for line in lines[1:] if line.startswith("  -")]
    assert names == ["-count", "-empty", "-even", "-fast", "-name", "-wait"]
