"""The metrics port: its addresses, and probes beside connections that say nothing."""

import socket
import time

import pytest

from lab import wait_for


@pytest.mark.parametrize(
    "address, asked",
    [("[::1]:9641", "[::1]"), ("[::]:9641", "[::1]"), ("[::]:9641", "127.0.0.1"), ("0.0.0.0:9641", "127.0.0.1")],
)
def test_metrics_over_either_family(fresh_lab, address, asked):
    relay = fresh_lab.start_relay("--metrics", address, expect_ready=False)
    url = f"http://{asked}:9641/readyz"
    wait_for(
        lambda: relay.process.poll() is not None
        or "ready" in fresh_lab.relay.exec("curl", "-gsS", "-m", "2", url, check=False).stdout,
        30,
        "an answer over " + url,
    )
    assert relay.process.poll() is None, relay.output()
    warned = "no password" in relay.output()
    assert warned == (address in ("[::]:9641", "0.0.0.0:9641")), relay.output()


@pytest.mark.parametrize("count", [2, 200])
def test_silent_connections_block_no_probe(fresh_lab, count):
    relay = fresh_lab.start_relay()
    with fresh_lab.relay.inside():
        silent = [socket.create_connection(("127.0.0.1", 9641), timeout=5) for _ in range(count)]
    for path in ("/readyz", "/healthz", "/metrics") * 3:
        assert relay.get(path)[0] == 200
    shown = fresh_lab.relay.exec(
        "curl", "-sS", "-m", "1", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:9641/readyz", check=False
    ).stdout
    assert shown == "200"
    for one in silent:
        one.close()


def test_a_taken_port_is_named(fresh_lab):
    with fresh_lab.relay.inside():
        holder = socket.create_server(("127.0.0.1", 9641))
    relay = fresh_lab.start_relay(expect_ready=False)
    assert relay.process.wait(timeout=30) == 1
    for word in ("metrics", "127.0.0.1:9641", "Address already in use", "metrics.address"):
        assert word in relay.output()
    holder.close()


def test_head_and_openmetrics_scrapes(fresh_lab):
    fresh_lab.start_relay()
    curl = ("curl", "-sS", "-m", "5", "-i")
    head = fresh_lab.relay.exec(*curl, "-I", "http://127.0.0.1:9641/metrics").stdout
    assert head.startswith("HTTP/1.1 200") and "Content-Length: " in head
    scraped = fresh_lab.relay.exec(
        *curl, "-H", "Accept: application/openmetrics-text;version=1.0.0", "http://127.0.0.1:9641/metrics"
    ).stdout
    assert "text/plain; version=0.0.4" in scraped and "turnpike_build_info{" in scraped


def test_a_stop_does_not_wait_for_connections(fresh_lab):
    relay = fresh_lab.start_relay()
    with fresh_lab.relay.inside():
        silent = socket.create_connection(("127.0.0.1", 9641), timeout=5)
    began = time.monotonic()
    assert relay.stop() == 0
    assert time.monotonic() - began < 8
    silent.close()


def test_shards_have_buffers_of_their_own(fresh_lab, tmp_path):
    """What engines may hold of a worker's frames never keeps its receive queues from being filled."""

    def buffers(shards):
        config = tmp_path / f"{shards}.toml"
        config.write_text(f"shards = {shards}\nworkers = 2\nidle_sleep_us = 50\n")
        relay = fresh_lab.start_relay("--config", config, driver="af_packet")
        limit = relay.total("turnpike_pool_limit", pool="buffers")
        assert relay.stop() == 0
        return limit

    in_flight = 2 * 1023  # strangers' requests, and those of known clients
    assert buffers(4) - buffers(1) >= 3 * in_flight * 2
