"""Completion of the words of a bash command line.

Bash splits words at ``:`` and ``=``, so a URL is several words to click's own script. This one passes the
whole line to the command.
"""

from __future__ import annotations

import os

from click.shell_completion import BashComplete, add_completion_class, split_arg_string


@add_completion_class
class BashLineComplete(BashComplete):
    """Replaces click's class for bash."""

    source_template = BashComplete.source_template.replace("${COMP_WORDS[*]}", "${COMP_LINE:0:COMP_POINT}")

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one to complete, and that word."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return words, "" if line[-1:].isspace() or not words else words.pop()
