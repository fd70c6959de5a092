"""Print a shell script that completes commands, options and files of `cell`.

cell completion bash > /etc/bash_completion.d/cell
cell completion zsh > "${fpath[1]}/_cell"
cell completion fish > ~/.config/fish/completions/cell.fish
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cell.registry import COMMANDS, load


@dataclass(frozen=True, slots=True)
class Option:
    """One long option. takes_value: its value is completed as a file."""

    name: str
    help: str
    takes_value: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=list(SCRIPTS))


def run(args: argparse.Namespace) -> int:
    options = {name: tuple(_options(load(name)[1])) for name in COMMANDS}
    print(SCRIPTS[args.shell](options), end="")
    return 0


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        for name in action.option_strings:
            if name.startswith("--"):
                yield Option(name, (action.help or "").partition("\n")[0], action.nargs != 0)


def bash_script(options: Mapping[str, tuple[Option, ...]]) -> str:
    """Plain bash, without the helpers of bash-completion."""
    cases = "\n".join(
        f"    {command}) words={_quoted(' '.join(option.name for option in known))} ;;"
        for command, known in options.items()
    )
    return f"""# bash completion of cell
_cell() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W {_quoted(" ".join(options))} -- "$word"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{cases}
  esac
  case $word in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}}
complete -o filenames -F _cell cell
"""


def zsh_script(options: Mapping[str, tuple[Option, ...]]) -> str:
    """For zsh's completion system."""
    commands = "\n".join(f"    {_quoted(f'{name}:{COMMANDS[name].help}')}" for name in options)
    cases = "\n".join(
        f"    {command}) _arguments {' '.join(map(_zsh_option, known))} '*:file:_files' ;;"
        for command, known in options.items()
    )
    return f"""#compdef cell
_cell() {{
  local -a commands
  commands=(
{commands}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{cases}
  esac
}}
_cell "$@"
"""


def fish_script(options: Mapping[str, tuple[Option, ...]]) -> str:
    """One line per command and option."""
    lines = ["# fish completion of cell"]
    for command, known in options.items():
        lines.append(
            f"complete -c cell -n __fish_use_subcommand -f -a {command} -d {_quoted(COMMANDS[command].help)}"
        )
        for option in known:
            value = " -r" if option.takes_value else ""
            lines.append(
                f"complete -c cell -n '__fish_seen_subcommand_from {command}' "
                f"-l {option.name.removeprefix('--')}{value} -d {_quoted(option.help)}"
            )
    return "\n".join(lines) + "\n"


SCRIPTS: Mapping[str, Callable[[Mapping[str, tuple[Option, ...]]], str]] = {
    "bash": bash_script,
    "zsh": zsh_script,
    "fish": fish_script,
}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _zsh_option(option: Option) -> str:
    text = option.help.replace("[", "(").replace("]", ")").replace(":", " ")
    return _quoted(f"{option.name}[{text}]" + (":value:_files" if option.takes_value else ""))
