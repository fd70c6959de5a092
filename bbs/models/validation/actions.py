"""Validation of action trees."""

from __future__ import annotations

from bbs.models.actions import (
    MAX_DEPTH,
    Action,
    DownloadAction,
    EmitProgressAction,
    EmptyAction,
    RunAction,
    TimeoutAction,
    TryAction,
    UploadAction,
    children,
)
from bbs.models.validation.fields import INVALID_ACTION_TYPE, invalid_field, required

CHECKSUM_ALGORITHMS = ("md5", "sha1", "sha256")


def validate_action(action: Action, depth: int = 1) -> list[str]:
    """Errors of an action and its children. depth: of this action, 1 for the outermost."""
    if depth > MAX_DEPTH:
        return [invalid_field(f"action nested more than {MAX_DEPTH} deep")]
    below = [text for inner in children(action) for text in validate_action(inner, depth + 1)]
    match action:
        case RunAction():
            return required(action.path, "path") + required(action.user, "user")
        case DownloadAction():
            return [
                *required(action.from_, "from"),
                *required(action.to, "to"),
                *required(action.user, "user"),
                *checksum(action.checksum_algorithm, action.checksum_value),
            ]
        case UploadAction():
            return required(action.to, "to") + required(action.from_, "from") + required(action.user, "user")
        case TimeoutAction():
            positive = [] if action.timeout_ms > 0 else [invalid_field("timeout_ms")]
            return required(action.action, "action") + below + positive
        case TryAction() | EmitProgressAction():
            return required(action.action, "action") + below
        case EmptyAction():
            return [invalid_field("inner-action")]
        case _:
            return required(action.actions, "actions") + below


def required_action(action: Action | None) -> list[str]:
    """Validate the required ``action`` of a workload."""
    return [INVALID_ACTION_TYPE] if action is None else named_action(action, "action")


def named_action(action: Action | None, name: str) -> list[str]:
    """Validate an optional action in the field ``name``."""
    errors = [] if action is None else validate_action(action)
    return [invalid_field(name), *errors] if errors else []


def checksum(algorithm: str, value: str) -> list[str]:
    """Algorithm and value of a checksum require each other; the algorithm must be known."""
    if not algorithm and not value:
        return []
    if not value:
        return [invalid_field("checksum value")]
    if not algorithm:
        return [invalid_field("checksum algorithm")]
    return [] if algorithm in CHECKSUM_ALGORITHMS else [invalid_field("invalid algorithm")]
