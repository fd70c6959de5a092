"""List the presences in Locket.

cell presences
"""

from __future__ import annotations

import argparse

from bbs.models.locket import TypeCode
from cell.client import resources, session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return resources.run(args, TypeCode.PRESENCE)
