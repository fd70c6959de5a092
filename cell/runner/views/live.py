"""Live terminal view: the changing tree, with the log lines below it.

During the run only the last lines fit below the tree. At the end the tree is drawn once more and all
lines follow, so that no line is lost by scrolling.
"""

from __future__ import annotations

import sys
import termios
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cell.assembly.terminal import one_line, visible
from cell.runner.events import ContainerChanged, LogWritten, ResultRead, RunEnded, RunEvent, Warned
from cell.runner.model import Tree
from cell.runner.output import PipeSafeOutput
from cell.runner.views.picture import picture
from executor.logs.api import LogLine, Stream
from executor.model import ContainerState

KEPT_LINES = 10_000
"""Maximum number of log lines kept for the end."""

REFRESH_S = 0.1
"""Interval for calls of :meth:`LiveView.refresh`."""

_LEAST_LOG_ROWS = 3


class LiveView:
    """Draws on a console, at calls of :meth:`refresh` and not at events."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=cast(IO[str], PipeSafeOutput(sys.stdout)))
        self._tree = Tree()
        self._lines: deque[Text] = deque(maxlen=KEPT_LINES)
        self._forgotten = 0
        self._live: Live | None = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
        )
        self._quiet = ExitStack()
        self._quiet.enter_context(_without_echo())
        self._live.start()

    def take(self, event: RunEvent) -> None:
        self._tree.apply(event)
        match event:
            case LogWritten():
                self._keep(_log_line(event.line))
            case ResultRead():
                self._keep(Text(f"[RESULT] {one_line(event.text)}"))
            case Warned():
                self._keep(Text(f"warning: {one_line(event.text)}", style="yellow"))
            case ContainerChanged() if event.state == ContainerState.COMPLETED.value:
                self.refresh()
            case RunEnded():
                self._finish()
            case _:
                pass

    def refresh(self) -> None:
        """Draw the current state."""
        if self._live is not None:
            self._live.update(self._drawing(), refresh=True)

    def pause(self) -> None:
        """Stop drawing and free the terminal; drawing cannot resume."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._quiet.close()

    def close(self) -> None:
        """Remove the live picture if it is still shown."""
        self.pause()

    def _drawing(self) -> RenderableType:
        height = self._console.size.height - 1
        log_rows = max(_LEAST_LOG_ROWS, min(len(self._lines), height // 3))
        rows = max(1, height - log_rows - 3)
        top = picture(self._tree, time.time_ns(), max_rows=rows)
        used = len(self._console.render_lines(top, pad=False))
        room = max(1, height - used - 1)
        return Group(top, Text("─" * self._console.size.width, style="dim"), *list(self._lines)[-room:])

    def _finish(self) -> None:
        self.pause()
        self._console.print(picture(self._tree, time.time_ns()))
        if self._forgotten:
            self._console.print(Text(f"{self._forgotten} earlier log lines are not shown", style="dim"))
        for line in self._lines:
            self._console.print(line, no_wrap=False, overflow="fold", crop=False)

    def _keep(self, text: Text) -> None:
        if len(self._lines) == KEPT_LINES:
            self._forgotten += 1
        text.no_wrap, text.overflow = True, "ellipsis"
        self._lines.append(text)


@contextmanager
def _without_echo() -> Iterator[None]:
    """Disable echo, so that input such as ``^C`` does not disturb the picture."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = termios.tcgetattr(descriptor)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _log_line(line: LogLine) -> Text:
    text = Text(f"[{line.source_type}] ", style="dim")
    payload = line.payload.decode(errors="replace").replace("\t", "    ")
    text.append_text(Text.from_ansi(visible(payload, colours=True), style=_style(line)))
    return text


def _style(line: LogLine) -> str:
    return "not dim red" if line.stream is Stream.ERR else "not dim"
