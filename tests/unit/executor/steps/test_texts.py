"""Durations, sizes and the environment."""

from __future__ import annotations

import pytest

from common.gotext import format_seconds, format_size
from executor.environment import network_env
from executor.model import PortMapping
from executor.steps.download import truncate_error

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (1e-9, "1ns"), (1.5e-6, "1.5µs"), (0.001, "1ms"), (0.0015, "1.5ms"), (0.5, "500ms"),
        (1, "1s"), (1.5, "1.5s"), (10, "10s"), (60, "1m0s"), (60.012, "1m0.012s"), (90.057, "1m30.057s"),
        (3600, "1h0m0s"), (3661.1, "1h1m1.1s"), (90000, "25h0m0s"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"), (1, "1B"), (512, "512B"), (1023, "1023B"), (1024, "1K"), (1536, "1.5K"), (1 << 20, "1M"),
        (12_897_485, "12.3M"), (2 << 30, "2G"), (1 << 40, "1T"), (1 << 51, "2048T"),
    ],
)  # fmt: skip
def test_sizes(size, text):
    assert format_size(size) == text


def test_errors_are_cut_to_1024_bytes_with_the_mark():
    assert truncate_error("x" * 1024) == b"x" * 1024
    cut = truncate_error("x" * 1025)
    assert len(cut) == 1024
    assert cut.endswith(b"x (error truncated)")


MAPPED = PortMapping(container_port=8080, host_port=61012)
PROXIED = PortMapping(
    container_port=8080, host_port=61012, container_tls_proxy_port=61001, host_tls_proxy_port=61014
)
C2C = PortMapping(container_port=8080, host_port=61012, container_tls_proxy_port=61443)
TLS_ONLY = PortMapping(container_port=8080, container_tls_proxy_port=61001, host_tls_proxy_port=61014)


@pytest.mark.parametrize(
    ("ports", "port", "ports_json"),
    [
        ((), "", "[]"),
        ((MAPPED,), "61012", '[{"external":61012,"internal":8080}]'),
        ((PROXIED, C2C), "61012",
         '[{"external":61012,"internal":8080,"external_tls_proxy":61014,"internal_tls_proxy":61001},'
         '{"external":61012,"internal":8080,"internal_tls_proxy":61443}]'),
        ((TLS_ONLY,), None, '[{"internal":8080,"external_tls_proxy":61014,"internal_tls_proxy":61001}]'),
    ],
)  # fmt: skip
def test_network_variables(ports, port, ports_json):
    middle = []
    if port is not None:
        middle = [("CF_INSTANCE_PORT", port), ("CF_INSTANCE_ADDR", f"10.1.1.1:{port}" if port else "")]
    assert network_env("10.1.1.1", "10.0.0.2", ports) == (
        ("CF_INSTANCE_IP", "10.1.1.1"),
        ("CF_INSTANCE_INTERNAL_IP", "10.0.0.2"),
        *middle,
        ("CF_INSTANCE_PORTS", ports_json),
    )
