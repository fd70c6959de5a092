"""Splitting of a command line into words, and the options of ``scp`` (pure).

Quotes, backslashes and comments follow the shell's rules. Nothing is expanded; operators are ordinary
characters.
"""

from __future__ import annotations


class UsageError(ValueError):
    """The command line is invalid; the error appears only in the log."""


class Options:
    """The options of ``scp``; exactly one of source and target mode is set."""

    def __init__(self, letters: set[str], operands: list[str]) -> None:
        self.target = "t" in letters
        self.must_be_directory = "d" in letters
        self.recursive = "r" in letters
        self.preserve = "p" in letters
        self.operands = operands


def split_words(line: str) -> list[str]:
    """Raises :class:`UsageError` for an unclosed quote or a single backslash at the end."""
    words: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(line):
        character = line[at]
        at += 1
        if character in " \t\r\n":
            if word is not None:
                words.append("".join(word))
                word = None
        elif character == "#" and word is None:
            end = line.find("\n", at)
            at = len(line) if end < 0 else end
        elif character == "'":
            end = line.find("'", at)
            if end < 0:
                raise UsageError("quote without end")
            word = [*(word or []), line[at:end]]
            at = end + 1
        elif character == '"':
            text, at = _double_quoted(line, at)
            word = [*(word or []), text]
        elif character == "\\":
            if at == len(line):
                raise UsageError("backslash at the end")
            word = [*(word or []), line[at]]
            at += 1
        else:
            word = [*(word or []), character]
    if word is not None:
        words.append("".join(word))
    return words


def _double_quoted(line: str, at: int) -> tuple[str, int]:
    text: list[str] = []
    while at < len(line):
        character = line[at]
        at += 1
        if character == '"':
            return "".join(text), at
        if character == "\\" and line[at : at + 1] in ('"', "\\", "$", "`", "\n"):
            character = line[at : at + 1]
            at += 1
        text.append(character)
    raise UsageError("quote without end")


def parse_command(line: str) -> Options:
    """Raises :class:`UsageError`."""
    words = split_words(line)
    if not words or words[0] != "scp":
        raise UsageError("Usage: call scp")
    letters: set[str] = set()
    rest = words[1:]
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        unknown = set(word[1:]) - set("tfdrpvq")
        if unknown:
            raise UsageError(f"unknown option: {word}")
        letters |= set(word[1:])
    if ("t" in letters) == ("f" in letters):
        raise UsageError("Must specify either target mode(-t) or source mode(-f) at a time")
    if "f" in letters and not rest:
        raise UsageError("Must specify at least one source in source mode")
    if "t" in letters and len(rest) != 1:
        raise UsageError("Must specify one target in target mode")
    return Options(letters, rest)
