"""Resolution of a process's user."""

from __future__ import annotations

import pytest

from executor.engine.users import User, further_groups, resolve_user
from executor.errors import ProcessStartError

pytestmark = pytest.mark.unit

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment
broken line
vcap:x:2000:2001:vcap:/home/vcap:/bin/sh
homeless:x:7:7:::
123:x:9:9::/nine:
"""
GROUP = "root:x:0:\nstaff:x:50:vcap\nbroken\n"


@pytest.mark.parametrize(
    ("wanted", "user"),
    [
        ("", User(uid=0, gid=0, home="/root", exec_user="root")),
        ("root", User(uid=0, gid=0, home="/root", exec_user="root")),
        ("vcap", User(uid=2000, gid=2001, home="/home/vcap", exec_user="vcap")),
        ("2000", User(uid=2000, gid=2001, home="/home/vcap", exec_user="2000")),
        ("2000:0", User(uid=2000, gid=0, home="/home/vcap", exec_user="2000:0")),
        ("vcap:staff", User(uid=2000, gid=50, home="/home/vcap", exec_user="vcap:staff")),
        ("vcap:4711", User(uid=2000, gid=4711, home="/home/vcap", exec_user="vcap:4711")),
        ("4711", User(uid=4711, gid=0, home="/", exec_user="4711")),
        ("4711:50", User(uid=4711, gid=50, home="/", exec_user="4711:50")),
        ("homeless", User(uid=7, gid=7, home="/", exec_user="homeless")),
        ("123", User(uid=9, gid=9, home="/nine", exec_user="123")),
    ],
)
def test_users(wanted: str, user: User) -> None:
    assert resolve_user(wanted, PASSWD, GROUP) == user


@pytest.mark.parametrize(
    ("wanted", "groups"),
    [
        ("vcap", (50,)),
        ("2000", (50,)),
        ("vcap:staff", ()),
        ("2000:0", ()),
        ("root", ()),
        ("", ()),
        ("4711", ()),
    ],
)
def test_further_groups_are_those_of_who_came_without_one(wanted: str, groups: tuple[int, ...]) -> None:
    assert further_groups(wanted, PASSWD, GROUP) == groups


@pytest.mark.parametrize("wanted", ["", "root"])
def test_root_needs_no_passwd_file(wanted: str) -> None:
    assert resolve_user(wanted, "", "") == User(uid=0, gid=0, home="/", exec_user="0")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("vcap:wheel", "unable to find group wheel: no matching entries in group file"),
    ],
)
def test_unknown_names(wanted: str, text: str) -> None:
    with pytest.raises(ProcessStartError) as caught:
        resolve_user(wanted, PASSWD, GROUP)
    assert str(caught.value) == text
