"""What is promised, as data: the rows of SPECIFICATION.md in their order, and when a row is met.

A measured text and a limit name figures by paths such as ``adopted[100]`` or ``seconds[25].ratio``; see
:mod:`benchmarks.figures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A command that measures: arguments of `python -m`.

    limit_s: seconds after which it is stopped. has_figures: whether it has `--json`; without it, a row is met
    if the command succeeds. is_long: it runs only if asked for.
    """

    text: str
    limit_s: float = 120
    has_figures: bool = True
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Promise:
    """A row.

    measured: text with figures in braces. limits: conditions such as ``seconds[25].ratio <= 1.15``, all of
    which hold if the promise is met. why_missed: the explanation of a miss that is known.
    """

    name: str
    aim: str
    measured: str
    floor: str
    command: Command
    limits: Sequence[str] = ()
    why_missed: str = ""


def _control(part: str) -> Command:
    return Command(f"benchmarks.control --only {part}")


BURST = Command("benchmarks.burst --n 1 25", limit_s=240)
BURST_WITH_RULES = Command("benchmarks.burst --n 100 --egress-rules 100 --rounds 2", limit_s=300)
LOGS = Command("benchmarks.logs", limit_s=180)
RESTART = Command("benchmarks.restart --n 50 100", limit_s=300)
CHECKS = Command("benchmarks.checks")
BUNDLE = Command("benchmarks.bundle", limit_s=180)
LISTS = _control("'list all' --only 'longest write in it'")
NETWORK = Command("benchmarks.network", limit_s=300)
SSH = Command("benchmarks.ssh", limit_s=180)
FULL = Command("benchmarks.full --n 25 250", limit_s=900, is_long=True)
PEERS = Command("benchmarks.peers --n 10 --idle-seconds 10", limit_s=240)
THE_PEERS = "`docker run`, `docker-compose`, Docker Swarm on one node"
THE_SAME = "the same"
A_TENTH = "a tenth of it"
SSHD = "OpenSSH's sshd"

PROMISES: Sequence[Promise] = (
    Promise(
        name="Burst of 25 LRPs, desired -> RUNNING",
        aim="<= 1.15 x",
        measured="{seconds[25].ratio:.2f} x",
        floor="the bare engine creating, starting and exec-ing the same containers, 8 at a time",
        command=BURST,
        limits=("seconds[25].ratio <= 1.15",),
    ),
    Promise(
        name="Burst of 100 LRPs with 100 egress rules each",
        aim="<= 1.15 x",
        measured="{seconds.ratio:.2f} x",
        floor=THE_SAME,
        command=BURST_WITH_RULES,
        limits=("seconds.ratio <= 1.15",),
    ),
    Promise(
        name="One LRP, desired -> RUNNING",
        aim="<= 1.3 x",
        measured="{seconds[1].ratio:.2f} x",
        floor=THE_SAME,
        command=BURST,
        limits=("seconds[1].ratio <= 1.3",),
    ),
    Promise(
        name="Log path through the spool, lines/s, none lost",
        aim=">= 2 x",
        measured="{rate.ratio:.1f} x by the clock, {rate_per_cpu.ratio:.1f} x per CPU second "
        "({rate:,.0f} lines/s)",
        floor="the engine's attach stream",
        command=LOGS,
        limits=("rate.ratio >= 2",),
        why_missed="the spool and the identity of each line cost about 15 %",
    ),
    Promise(
        name="A line of a log, from a read of output to the ring buffer",
        aim="<= 20 x",
        measured="{in_memory:.2f} us, {in_memory.ratio:.1f} x",
        floor="the same output split, its last lines kept",
        command=Command("benchmarks.logs --in-memory"),
        limits=("in_memory.ratio <= 20",),
    ),
    Promise(
        name="Restart after kill -9: all containers adopted, checks going",
        aim="< 2 s with 100",
        measured="{adopted[50]:.1f} s with 50, {adopted[100]:.2f} s with 100, {adopted[100].floor:.1f} s "
        "without; a Task has run after {works[50]:.1f} and {works[100]:.1f} s; the journal is "
        "{journal_share:.2f} % of a start",
        floor="a start without containers",
        command=RESTART,
        limits=("adopted[100] <= 2",),
    ),
    Promise(
        name="A write to the journal, alone and in groups of 100",
        aim="<= 4 x, <= 1.3 x",
        measured="{alone.ratio:.1f} x ({alone:.3f} ms of CPU), {grouped.ratio:.2f} x",
        floor="a commit of bare SQLite",
        command=Command("benchmarks.journal"),
        limits=("alone.ratio <= 4", "grouped.ratio <= 1.3"),
    ),
    Promise(
        name="A step of an action tree",
        aim="< 0.2 ms",
        measured="{worst:.3f} ms, at most {bare_tasks:.1f} x; {growth:.1f} x that of 100 actions at 10,000",
        floor="a bare asyncio task",
        command=Command("benchmarks.steps"),
        limits=("worst <= 0.2",),
    ),
    Promise(
        name="Fifty downloads of one key at once",
        aim="1 request",
        measured="{requests:.0f} request; a hit costs {hit.ratio:.2f} x of a copy",
        floor="a plain copy",
        command=Command("benchmarks.cache"),
        limits=("requests <= 1",),
    ),
    Promise(
        name="A TCP check each 2 s",
        aim="no process, < 100 KB, < 0.5 ms CPU/s",
        measured="{memory:.1f} KiB, {cpu:.2f} ms CPU/s; the floor {memory.floor:.0f} KiB, "
        "{cpu.floor:.2f} ms CPU/s",
        floor="a process per check",
        command=CHECKS,
        limits=("memory <= 97", "cpu <= 0.5"),
    ),
    Promise(
        name="`healthcheck` of the bundle, start to exit",
        aim="< 60 ms",
        measured="{tcp:.0f} ms, the peer {tcp.floor:.1f} ms",
        floor="`busybox nc` in the same container",
        command=BUNDLE,
        limits=("tcp <= 60",),
    ),
    Promise(
        name="The bundle of in-container programs",
        aim="< 25 MB",
        measured="{compressed:.1f} MB compressed",
        floor="-",
        command=BUNDLE,
        limits=("compressed <= 25",),
    ),
    Promise(
        name="Auction of 10,000 starts over 1,000 cells",
        aim="spread within 1, < 0.5 ms a start",
        measured="spread within 1, {auction_cpu_each:.3f} ms a start, in a thread; "
        "{auction_cpu[10000].ratio:.0f} x; grows {auction_growth:.2f} x linear",
        floor="a sort of the same starts; a tenth of them",
        command=_control("auction"),
        limits=("auction_cpu_each <= 0.5",),
    ),
    Promise(
        name="Convergence of 10,000 DesiredLRPs, 50,000 instances",
        aim="linear",
        measured="{convergence[10000]:.2f} s; grows {convergence_growth:.1f} x linear",
        floor=A_TENTH,
        command=_control("convergence"),
        limits=("convergence_growth <= 1.4",),
    ),
    Promise(
        name="Bulk pass of a rep over 1,000 containers",
        aim="linear",
        measured="{bulk_pass[1000]:.2f} s; grows {bulk_pass_growth:.1f} x linear",
        floor=A_TENTH,
        command=_control("'bulk pass'"),
        limits=("bulk_pass_growth <= 1.4",),
    ),
    Promise(
        name="Outcomes of 250 containers at a BBS that was away, after its return",
        aim="< 2 s",
        measured="1.05 to 1.5 s",
        floor="-",
        command=Command("pytest tests/unit/rep/outcomes -k two_seconds", has_figures=False),
    ),
    Promise(
        name="10,000 events in bursts of 250 to 50 subscribers, none lost",
        aim="linear",
        measured="{event_fan_out[10000]:.1f} s, {event_fan_out_cpu[10000]:.1f} s of CPU for both sides; "
        "grows {event_fan_out_growth:.2f} x linear",
        floor=A_TENTH,
        command=_control("'event fan-out'"),
        limits=("event_fan_out_growth <= 1.4",),
    ),
    Promise(
        name="A cell's instances among 50,000",
        aim="linear",
        measured="{list_by_cell[10000]:.3f} s; grows {list_by_cell_growth:.1f} x linear",
        floor=A_TENTH,
        command=_control("'list by cell'"),
        limits=("list_by_cell_growth <= 1.4",),
    ),
    Promise(
        name="A list of 50,000 instances",
        aim="< 0.3 s, writes go on",
        measured="{list_all[10000]:.2f} s; the longest write in it {longest_write_in_it[10000]:.3f} s; "
        "grows {list_all_growth:.1f} x linear; {list_all_cpu[10000].ratio:.1f} x the CPU of a plain read",
        floor="a tenth of it; a plain read of the stored form",
        command=LISTS,
        limits=("list_all[10000] <= 0.3", "longest_write_in_it[10000] <= 0.1"),
    ),
    Promise(
        name="A renewal of one of 1,000 presences",
        aim="< 5 % of a core at 200/s",
        measured="{renewals_cpu_each:.2f} ms of CPU for both sides of the call, no write",
        floor="-",
        command=_control("renewals"),
        limits=("renewals_cpu_each <= 0.5",),  # half of it is the client's
    ),
    Promise(
        name="A container's ports and egress rules next to 250 others",
        aim="flat",
        measured="{change_growth[1]:.2f} x, {change_growth[100]:.2f} x and {change_growth[1000]:.2f} x "
        "that of one alone with 1, 100 and 1,000 rules of its own; {shared_growth[1]:.2f} x, "
        "{shared_growth[100]:.2f} x and {shared_growth[1000]:.2f} x with rules others have too",
        floor="one alone",
        command=NETWORK,
        limits=tuple(
            f"{name}_growth[{rules}] <= 2" for name in ("change", "shared") for rules in (1, 100, 1000)
        ),
    ),
    Promise(
        name="The same, against a line per rule",
        aim="cheaper",
        measured="with 1, 100 and 1,000 rules at most {change_to_iptables[1]:.2f} x, "
        "{change_to_iptables[100]:.2f} x and {change_to_iptables[1000]:.2f} x; "
        "{shared_to_iptables[1]:.2f} x, {shared_to_iptables[100]:.2f} x and {shared_to_iptables[1000]:.2f} x "
        "with rules others have too",
        floor="`iptables-restore`",
        command=NETWORK,
        limits=tuple(
            f"{name}_to_iptables[{rules}] <= 1" for name in ("change", "shared") for rules in (1, 100, 1000)
        ),
    ),
    Promise(
        name="A connection out of one of 250 containers with 1,000 rules each",
        aim="flat",
        measured="{connect_growth:.2f} x; throughput {throughput:.2f} x",
        floor="one container, one rule",
        command=NETWORK,
        limits=("connect_growth <= 1.25", "throughput >= 0.75"),
    ),
    Promise(
        name="ssh, connect to prompt",
        aim="<= 1.5 x its time",
        measured="{connect.ratio:.2f} x its time",
        floor=SSHD,
        command=SSH,
        limits=("connect.ratio <= 1.5",),
    ),
    Promise(
        name="scp and sftp of 200 MB",
        aim="<= 2 x its time",
        measured="{scp.ratio:.2f} x and {sftp.ratio:.2f} x its time",
        floor=SSHD,
        command=SSH,
        limits=("scp.ratio <= 2", "sftp.ratio <= 2"),
    ),
    Promise(
        name="`diego-sshd`, idle",
        aim="< 12 MB",
        measured="{idle:.1f} MB, the peer {idle.floor:.1f} MB",
        floor=SSHD,
        command=SSH,
        limits=("idle <= 12",),
    ),
    Promise(
        name="its second process, while a client is connected",
        aim="< 40 MB",
        measured="{serving:.0f} MB",
        floor="-",
        command=SSH,
        limits=("serving <= 40",),
    ),
    Promise(
        name="A full cell: 250 LRPs with a check, a port, 100 egress rules and a line of log per second each",
        aim="<= 1.15 x; one more <= 1.3 x of the first",
        measured="{seconds[250].ratio:.2f} x ({seconds[250]:.0f} s); an instance RUNNING after "
        "{p50[250]:.0f} s (p50) and {p99[250]:.0f} s (p99); one more {one_more[250].ratio:.2f} x "
        "({one_more[250]:.2f} s); removal {removal[250].ratio:.2f} x",
        floor="the engine alone with network `none`, 8 at a time; the first LRP of the empty cell",
        command=FULL,
        limits=("seconds[250].ratio <= 1.15", "one_more[250].ratio <= 1.3"),
    ),
    Promise(
        name="The same cell, idle, with its control plane",
        aim="< 150 MB, < 10 % of a core",
        measured="{rss[250]:.0f} MB, {cpu[250]:.1f} % of a core, {descriptors[250]:.0f} descriptors, "
        "{threads[250]:.0f} threads, timers {loop_lag[250]:.1f} ms late",
        floor="-",
        command=FULL,
        limits=("rss[250] <= 150", "cpu[250] <= 10"),
    ),
    Promise(
        name="Ten instances started and removed, as by peers",
        aim="-",
        measured="start {burst_docker_run.ratio:.2f} x, {burst_docker_compose.ratio:.2f} x and "
        "{burst_swarm.ratio:.2f} x; removal {removal_docker_run.ratio:.2f} x, "
        "{removal_docker_compose.ratio:.2f} x and {removal_swarm.ratio:.2f} x",
        floor=THE_PEERS,
        command=PEERS,
    ),
    Promise(
        name="Ten idle instances with a check each 2 s, all processes around them",
        aim="<= 0.5 x the CPU",
        measured="{idle_docker_run.ratio:.2f} x, {idle_docker_compose.ratio:.2f} x and "
        "{idle_swarm.ratio:.2f} x; memory {memory_docker_run.ratio:.1f} x, "
        "{memory_docker_compose.ratio:.1f} x and {memory_swarm.ratio:.1f} x ({memory_docker_run:.0f} MB)",
        floor=THE_PEERS,
        command=PEERS,
        limits=tuple(f"idle_{peer}.ratio <= 0.5" for peer in ("docker_run", "docker_compose", "swarm")),
    ),
    Promise(
        name="kill -9 of what keeps ten instances, and its restart",
        aim="all go on",
        measured="{kept_docker_run:.0f} of 10 go on, with the peers {kept_docker_run.floor:.0f}, "
        "{kept_docker_compose.floor:.0f} and {kept_swarm.floor:.0f}; all run after "
        "{restart_docker_run:.1f} s, with the peers {restart_docker_run.floor:.1f}, "
        "{restart_docker_compose.floor:.1f} and {restart_swarm.floor:.1f} s",
        floor=f"{THE_PEERS}: their `dockerd`, without live-restore",
        command=PEERS,
        limits=("kept_docker_run >= 10",),
    ),
    Promise(
        name="Exposure of the services, by `systemd-analyze security`: cell, ssh proxy",
        aim="<= 5.0, <= 1.5",
        measured="{cell:.1f} and {proxy:.1f}, the floor {cell.floor:.1f}",
        floor="a unit without restrictions",
        command=Command("benchmarks.exposure"),
        limits=("cell <= 5.0", "proxy <= 1.5"),
    ),
)
