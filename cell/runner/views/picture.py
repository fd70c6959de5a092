"""Drawing of the tree with rich: one line per step, within the available lines."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cell.assembly.terminal import one_line
from cell.runner.model import Row, Tree
from cell.story.progress import State
from common.gotext import format_size

MARKS = {
    State.WAITING: ("·", "dim"),
    State.RUNNING: ("▶", "bold cyan"),
    State.SUCCEEDED: ("✓", "green"),
    State.FAILED: ("✗", "bold red"),
    State.CANCELLED: ("-", "yellow"),
}
BAR_WIDTH = 6


def picture(tree: Tree, now_ns: int, *, max_rows: int | None = None) -> RenderableType:
    """Headline and steps. max_rows: limit of the steps; the most important ones are kept."""
    rows = list(tree)
    shown = rows if max_rows is None else _most_important(rows, max_rows)
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True, min_width=6)
    moves = any(row.node.kind in ("download", "upload") for row in shown)
    table.add_column(no_wrap=True, width=BAR_WIDTH + 8 if moves else None)  # fixed: no jumps
    table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
    for row in shown:
        table.add_row(_step(row), _elapsed(row, now_ns), _moved(row), _last_line(row))
    parts: list[RenderableType] = [headline(tree, now_ns), table]
    if len(shown) < len(rows):
        parts.append(Text(f"  and {len(rows) - len(shown)} more steps", style="dim"))
    return Group(*parts)


def headline(tree: Tree, now_ns: int) -> Text:
    """The workload, its state and its duration."""
    started, ended = tree.started, tree.ended
    line = Text(no_wrap=True, overflow="ellipsis")
    if started is None:
        return line
    line.append(f"{started.kind} {started.name}".rstrip(), style="bold")
    if ended is not None:
        how = {0: "succeeded", 1: "failed", 130: "interrupted"}.get(ended.exit_code, "could not run")
        style = "green" if ended.exit_code == 0 else "red"
        line.append(f"  {how} in {format_seconds(ended.seconds)}", style=style)
    else:
        state = tree.waiting_for or tree.container.state or "preparing"
        line.append(f"  {state}  {format_seconds((now_ns - started.time_ns) / 1e9)}", style="cyan")
    line.append(f"  {started.guid}", style="dim")
    for host_port, container_port in tree.container.ports:
        line.append(f"  127.0.0.1:{host_port} -> {container_port}", style="dim")
    return line


def _most_important(rows: list[Row], room: int) -> list[Row]:
    """As many rows as fit, in order: failed and running steps before finished and waiting ones."""
    weight = {State.FAILED: 0, State.RUNNING: 1, State.WAITING: 2, State.CANCELLED: 3, State.SUCCEEDED: 4}
    ranked = sorted(range(len(rows)), key=lambda index: (weight[rows[index].state], index))
    return [rows[index] for index in sorted(ranked[:room])]


def _step(row: Row) -> Text:
    mark, style = MARKS[row.state]
    text = Text("  " * row.depth)
    text.append(mark, style=style)
    root = row.node.path.partition("/")[0]
    name = f"{root}: {row.node.kind}" if row.depth == 0 and root != row.node.kind else row.node.kind
    text.append(f" {name}", style="bold" if row.state is State.RUNNING else "")
    if row.node.label:
        text.append(f" {one_line(row.node.label)}", style="dim")
    return text


def _elapsed(row: Row, now_ns: int) -> Text:
    return Text("" if row.state is State.WAITING else format_seconds(row.elapsed(now_ns)))


def _moved(row: Row) -> RenderableType:
    if row.transferred is None:
        return Text("")
    amount = format_size(row.transferred)
    if row.state is State.RUNNING and row.total:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(ProgressBar(total=row.total, completed=row.transferred, width=BAR_WIDTH), Text(amount))
        return grid
    return Text(amount)


def _last_line(row: Row) -> Text:
    if row.state is State.FAILED and row.reason:
        return Text(one_line(row.reason), style="red")
    return Text(one_line(row.last_line), style="dim")


def format_seconds(value: float) -> str:
    """A duration for people: ``0.25s``, ``12.3s``, ``2m05s``."""
    if value < 10:
        return f"{value:.2f}s"
    if value < 60:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}m{rest:02d}s"
