"""Packet rules: the cost of a change and of a packet, with few and many containers and rules.

Each side runs in its own network namespace, with a machine outside. Our side uses one nftables transaction
for a container's port and rules, and interval sets for the packets. The other side has one chain per
container with one iptables rule per line, loaded by one `iptables-restore` per container. Ratios come at the
end.

  change      ms until port and rules of one more container are in force, with unique rules
  shared      the same with rules that another container already has; iptables cannot share rules
  connect     us from SYN to an established connection, through the last of the rules
  round trip  us for a byte to the peer and back over an established connection
  throughput  MB/s over the same connection

    .venv/bin/python -m benchmarks.network
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address

from pyroute2.netns import setns

from bbs.models.workload import SecurityGroupRule
from benchmarks.figures import Figure, arguments_of, hand_on
from executor.network.config import NO_IPV6, NetworkConfig
from executor.network.desiredtable import DesiredTable, Member, everything
from executor.network.egress import compile_rules
from executor.network.ipv6 import host_has_ipv6
from executor.network.links import Links
from executor.network.nft import Nft
from executor.network.rules import Target, Wiring, remove_table

CONTAINERS, RULES = (1, 50, 250), (1, 100, 1000)
OUTSIDE, HOST_SIDE = "192.0.2.2", "192.0.2.1"
INSIDE = "MEASURED_INSIDE_A_NAMESPACE"
PORT = 9000
CHANGES, CONNECTIONS, ROUND_TRIPS = 15, 300, 5000
BULK_BYTES = 256 << 20
IPTABLES_LIMIT = 60_000
"""Limit of iptables rules: above it, loading takes minutes and the iptables side is skipped."""

CONFIG = NetworkConfig(
    name="bench",
    table="bench",
    subnet="10.99.0.0/16",
    subnet_ipv6="" if host_has_ipv6() else NO_IPV6,
    denied_networks=("0.0.0.0/0",),
)


def rules(container: int, count: int, port: int) -> list[SecurityGroupRule]:
    """Rules that differ for every container; only the last one matches the measured connection."""
    others = [
        SecurityGroupRule(
            protocol="tcp",
            destinations=(f"{11 + container // 256}.{container % 256}.{number // 256}.{number % 256}",),
            ports=(1000 + number,),
        )
        for number in range(count - 1)
    ]
    return [*others, SecurityGroupRule(protocol="tcp", destinations=(OUTSIDE,), ports=(port,))]


def address(container: int) -> IPv4Address:
    return CONFIG.network[2 + container]


class Ours:
    """One nft transaction per container."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._run = runner.run
        self._nft = Nft()
        self._wiring = Wiring(
            table=CONFIG.table,
            ports=CONFIG.port_prefix,
            subnet=CONFIG.network,
            gateway=CONFIG.gateway,
            subnet_ipv6=CONFIG.network_ipv6,
            gateway_ipv6=CONFIG.gateway_ipv6,
            denied=CONFIG.denied,
            log_group=CONFIG.log_group,
            connection_limit=CONFIG.connection_limit,
        )
        self._desired = DesiredTable(CONFIG.table)
        self._compiled = lru_cache(maxsize=256)(compile_rules)

    def load(self, containers: int, count: int, port: int) -> bool:
        self._desired.clear()
        for number in range(containers):
            self._desired.put(f"g{number}", self._member(number, rules(number, count, port)))
        self._run(self._nft.apply(everything(self._wiring, self._desired.members)))
        return True

    def change(self, container: int, given: Sequence[SecurityGroupRule]) -> None:
        member = self._member(container, given)
        self._run(self._nft.apply(self._desired.put(f"g{container}", member)))

    def undo(self, container: int) -> None:
        self._run(self._nft.apply(self._desired.remove(f"g{container}")))

    def clear(self) -> None:
        self._run(self._nft.apply(remove_table(CONFIG.table)))
        self._run(self._nft.close())

    def _member(self, number: int, given: Sequence[SecurityGroupRule]) -> Member:
        where = address(number)
        targets = {61001 + number: Target(where, 8080)}
        return Member(where, targets, self._compiled(tuple(given)), CONFIG.ipv6_of(where))


class IPTables:
    """One rule per line."""

    def load(self, containers: int, count: int, port: int) -> bool:
        if containers * count > IPTABLES_LIMIT:
            return False
        lines = ["*filter", ":FORWARD ACCEPT", "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT"]
        for number in range(containers):
            lines += self._lines(number, rules(number, count, port))
        ports = map(self._dnat, range(containers))
        self._restore([*lines, "COMMIT", "*nat", ":PREROUTING ACCEPT", *ports, "COMMIT"])
        return True

    def change(self, container: int, given: Sequence[SecurityGroupRule]) -> None:
        lines = ["*filter", *self._lines(container, given), "COMMIT"]
        self._restore([*lines, "*nat", self._dnat(container), "COMMIT"], "--noflush")

    def undo(self, container: int) -> None:
        jump = f"-D FORWARD -s {address(container)} -j C{container}"
        lines = ["*filter", jump, f"-F C{container}", f"-X C{container}", "COMMIT"]
        self._restore([*lines, "*nat", self._dnat(container).replace("-A", "-D", 1), "COMMIT"], "--noflush")

    def clear(self) -> None:
        self._restore(["*filter", ":FORWARD ACCEPT", "COMMIT", "*nat", ":PREROUTING ACCEPT", "COMMIT"])

    def _lines(self, container: int, given: Sequence[SecurityGroupRule]) -> list[str]:
        chain = f"C{container}"
        accepted = [
            f"-A {chain} -d {rule.destinations[0]} -p tcp --dport {rule.ports[0]} -j ACCEPT" for rule in given
        ]
        return [
            f":{chain} -",
            *accepted,
            f"-A {chain} -j REJECT",
            f"-A FORWARD -s {address(container)} -j {chain}",
        ]

    def _dnat(self, container: int) -> str:
        return f"-A PREROUTING -p tcp --dport {61001 + container} -j DNAT --to {address(container)}:8080"

    def _restore(self, lines: list[str], *options: str) -> None:
        text = "\n".join(lines) + "\n"
        subprocess.run(["iptables-restore", *options], input=text, text=True, check=True)


@contextmanager
def inside(pid: int) -> Iterator[None]:
    """Sockets made in this context belong to the namespace of process ``pid``."""
    home, there = (os.open(f"/proc/{one}/ns/net", os.O_RDONLY) for one in ("thread-self", pid))
    try:
        setns(there)
        yield
        setns(home)
    finally:
        os.close(home)
        os.close(there)


@dataclass(frozen=True)
class Way:
    """The namespaces of a container and of the machine outside, by process."""

    container: int
    outside: int

    def measure(self) -> tuple[float, float, float]:
        """us per connection, us per round trip, MB/s. The port listens on all of the outside's addresses."""
        with inside(self.outside):
            server = socket.create_server(("0.0.0.0", PORT), backlog=CONNECTIONS)
        try:
            took = []
            for _ in range(CONNECTIONS):
                client, accepted, seconds = self._connect(server)
                took.append(seconds)
                client.close()
                accepted.close()
            client, accepted, _ = self._connect(server)
            with client, accepted:
                trip, rate = _round_trip(client, accepted), _throughput(client, accepted)
            return statistics.median(took) * 1e6, trip, rate
        finally:
            server.close()

    def _connect(self, server: socket.socket) -> tuple[socket.socket, socket.socket, float]:
        with inside(self.container):
            client = socket.socket()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        client.connect((OUTSIDE, PORT))
        seconds = time.perf_counter() - began
        accepted, _ = server.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, accepted, seconds


def _round_trip(client: socket.socket, accepted: socket.socket) -> float:
    """Median in us: a mean would include other load on the machine."""
    took = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        client.send(b"x")
        accepted.recv(1)
        accepted.send(b"x")
        client.recv(1)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


def _throughput(client: socket.socket, accepted: socket.socket) -> float:
    """MB/s, sending and receiving in turns."""
    block, buffer = bytes(64 << 10), bytearray(1 << 20)
    accepted.setblocking(False)
    done, began = 0, time.perf_counter()
    while done < BULK_BYTES:
        client.send(block)
        try:
            while got := accepted.recv_into(buffer):
                done += got
        except BlockingIOError:
            continue
    return done / (time.perf_counter() - began) / 1e6


@contextmanager
def topology() -> Iterator[Way]:
    """A container's link, and a machine outside on another link."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    command = ["unshare", "-n", "sleep", "100000"]
    container, outside = subprocess.Popen(command), subprocess.Popen(command)
    links = Links(CONFIG)
    try:
        while any(_space(one.pid) == _space(os.getpid()) for one in (container, outside)):
            time.sleep(0.001)
        links.ensure_gateway()
        space = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        links.connect(space, address(0))
        os.close(space)
        for line in (
            f"ip link add out0 type veth peer name eth0 netns {outside.pid}",
            f"ip addr add {HOST_SIDE}/24 dev out0",
            "ip link set out0 up",
            f"nsenter -t {outside.pid} -n ip addr add {OUTSIDE}/24 dev eth0",
            f"nsenter -t {outside.pid} -n ip link set eth0 up",
            f"nsenter -t {outside.pid} -n ip route add default via {HOST_SIDE}",
        ):
            subprocess.run(line.split(), check=True)
        yield Way(container.pid, outside.pid)
    finally:
        for process in (container, outside):
            process.kill()
            process.wait()


def _space(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


@dataclass(frozen=True)
class Costs:
    """change, shared: ms. connect, trip: us. rate: MB/s."""

    change: float
    shared: float
    connect: float = 0
    trip: float = 0
    rate: float = 0

    @property
    def line(self) -> str:
        packets = f" {self.connect:6.0f} us {self.trip:8.1f} us {self.rate:6.0f} MB/s" if self.rate else ""
        return f"{self.change:6.2f} ms {self.shared:6.2f} ms{packets}"


UNITS = {"change": "ms", "shared": "ms", "connect": "us", "trip": "us", "rate": "MB/s"}
Measured = Mapping[tuple[int, int], Costs]
"""Costs of one side by containers and rules."""


def changes(side: Ours | IPTables, containers: int, count: int) -> tuple[float, float]:
    """ms for one more container with unique rules, and with the rules of the first container."""
    new = [rules(containers + number, count, PORT) for number in range(CHANGES)]
    known = [rules(0, count, PORT) for _ in range(CHANGES)]
    found = []
    for each in (new, known):
        took = []
        for given in each:
            began = time.perf_counter()
            side.change(containers, given)
            took.append(time.perf_counter() - began)
            side.undo(containers)
        found.append(statistics.median(took) * 1e3)
    return found[0], found[1]


def report(sizes: Sequence[int], counts: Sequence[int], packets: bool) -> list[Figure]:
    """Print a line per side, containers and rules, then the ratios."""
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    titles = f"{'change':>9} {'shared':>9} {'connect':>9} {'round trip':>11} {'throughput':>11}"
    print(f"{'':10} {'containers':>10} {'rules':>6} {titles}")
    measured: dict[str, dict[tuple[int, int], Costs]] = {"ours": {}, "iptables": {}}
    with asyncio.Runner() as runner, topology() as path:
        for name, side in (("ours", Ours(runner)), ("iptables", IPTables())):
            for count in counts:
                for containers in sizes:
                    if not side.load(containers, count, PORT):
                        print(f"{name:10} {containers:10} {count:6} {'left out':>9}")
                        continue
                    gc.collect()
                    gc.freeze()  # a cell does not keep the original rules of all containers
                    costs = Costs(*changes(side, containers, count), *(path.measure() if packets else ()))
                    gc.unfreeze()
                    measured[name][containers, count] = costs
                    print(f"{name:10} {containers:10} {count:6} {costs.line}", flush=True)
            side.clear()
    ours, theirs = measured["ours"], measured["iptables"]
    figures = [*each_cost(ours, theirs), *growth(ours, packets), *against(ours, theirs, packets)]
    for figure in figures:
        if figure.unit == "x":
            rules_each = f", {figure.size} rules" if figure.size else ""
            print(f"{figure.name}{rules_each}: {figure:.2f} x")
    return figures


def each_cost(ours: Measured, theirs: Measured) -> Iterator[Figure]:
    """Each cost by the number of rules, over the number of containers; the floor is iptables."""
    for (containers, count), costs in ours.items():
        peer = theirs.get((containers, count))
        for name, unit in UNITS.items():
            if value := getattr(costs, name):
                floor = getattr(peer, name) if peer else None
                yield Figure(f"{name}_{count}_rules", value, unit, containers, floor)


def growth(ours: Measured, packets: bool) -> Iterator[Figure]:
    """Costs with the most containers, relative to those with the fewest; the size is the number of rules."""
    few, many = min(ours)[0], max(ours)[0]
    short, long = min(count for _, count in ours), max(count for _, count in ours)
    for count in sorted({count for _, count in ours}):
        at_few, at_many = ours[few, count], ours[many, count]
        yield Figure("change_growth", at_many.change / at_few.change, "x", count)
        yield Figure("shared_growth", at_many.shared / at_few.shared, "x", count)
    yield Figure("shared_growth_of_rules", ours[many, long].shared / ours[many, short].shared, "x")
    if packets:
        yield Figure("connect_growth", ours[many, long].connect / ours[few, short].connect, "x")
        yield Figure("throughput", ours[many, long].rate / ours[few, short].rate, "x")


def against(ours: Measured, theirs: Measured, packets: bool) -> Iterator[Figure]:
    """The worst ratio to iptables for each number of rules, which is the size."""
    for name in ("change", "shared", *(("connect",) if packets else ())):
        ratios: dict[int, float] = {}
        for at, peer in theirs.items():
            ratio = getattr(ours[at], name) / getattr(peer, name)
            ratios[at[1]] = max(ratio, ratios.get(at[1], 0.0))
        yield from (Figure(f"{name}_to_iptables", ratio, "x", count) for count, ratio in ratios.items())


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--no-packets", action="store_true", help="measure changes only")
    parser.add_argument("--containers", type=int, nargs="+", default=CONTAINERS, help="default 1 50 250")
    parser.add_argument("--rules", type=int, nargs="+", default=RULES, help="default 1 100 1000")
    args = parser.parse_args()
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "yes"
        os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.orig_argv[1:]])
    hand_on(report(args.containers, args.rules, not args.no_packets), args.json)


if __name__ == "__main__":
    main()
