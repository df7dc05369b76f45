"""Where the relay's threads run, how often they wake, and how soon a request is answered."""

import os
import re
import time
from pathlib import Path

import pytest

from lab import wait_for
from turn_client import SUCCESS, TurnClient


def threads(relay):
    """Name → (allowed cores, voluntary context switches) of each thread."""
    found = {}
    for task in Path(f"/proc/{relay.process.pid}/task").iterdir():
        status = (task / "status").read_text()
        allowed = set()
        for part in re.search(r"Cpus_allowed_list:\s+(\S+)", status)[1].split(","):
            first, _, last = part.partition("-")
            allowed |= set(range(int(first), int(last or first) + 1))
        name = (task / "comm").read_text().strip()
        found[name] = allowed, int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", status)[1])
    return found


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_other_threads_stay_off_the_workers_core(fresh_lab):
    found = threads(fresh_lab.start_relay())
    mine = found.pop("worker-0")[0]
    assert len(mine) == 1
    assert "engine" in found and any("intr" in name for name in found)
    assert all(not cores & mine for cores, _ in found.values()), found


def policies(relay):
    """Name → scheduling policy of each thread."""
    tasks = list(Path(f"/proc/{relay.process.pid}/task").iterdir())
    return {(task / "comm").read_text().strip(): os.sched_getscheduler(int(task.name)) for task in tasks}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_request_does_not_wait_for_others_on_the_engines_core(fresh_lab):
    found = policies(fresh_lab.start_relay())
    assert found.pop("engine") == os.SCHED_RR
    assert set(found.values()) == {os.SCHED_OTHER}


def test_an_engine_beside_a_worker_is_one_of_many(fresh_lab, tmp_path):
    config = tmp_path / "shared.toml"
    config.write_text("idle_sleep_us = 50\n")
    assert set(policies(fresh_lab.start_relay("--config", config)).values()) == {os.SCHED_OTHER}


def test_a_worker_that_sleeps_is_not_pinned(fresh_lab, tmp_path):
    config = tmp_path / "shared.toml"
    config.write_text("idle_sleep_us = 50\n")
    found = threads(fresh_lab.start_relay("--config", config))
    assert all(cores == os.sched_getaffinity(0) for cores, _ in found.values()), found


def test_an_idle_engine_sleeps(fresh_lab):
    """Ten ticks a second are its own; naps would be a thousand or more."""
    relay = fresh_lab.start_relay()
    before, began = threads(relay)["engine"][1], time.monotonic()
    time.sleep(1)
    assert threads(relay)["engine"][1] - before < 60 * (time.monotonic() - began)


def test_a_sleeping_engine_is_woken_by_a_request(fresh_lab):
    """Its own ticks, 100 ms apart, would make it some 50 ms on average."""
    fresh_lab.start_relay()
    one = TurnClient(fresh_lab.client.udp(fresh_lab.CLIENT4), (fresh_lab.SERVER4, 3478))
    assert one.allocate().message_class == SUCCESS
    took = []
    for _ in range(60):
        began = time.perf_counter()
        assert one.refresh(600).message_class == SUCCESS
        took.append(time.perf_counter() - began)
        time.sleep(0.007)
    assert sorted(took)[len(took) // 4] < 0.02, took


def test_stalls_and_burst_times_are_told(fresh_lab):
    relay = fresh_lab.start_relay()
    one = TurnClient(fresh_lab.client.udp(fresh_lab.CLIENT4), (fresh_lab.SERVER4, 3478))
    one.allocate()
    # A worker held for a while has a gap of more than a millisecond.
    before = relay.total("turnpike_worker_stalls_total", over="1ms")
    relay.process.send_signal(19)
    time.sleep(0.05)
    relay.process.send_signal(18)
    wait_for(lambda: relay.total("turnpike_worker_stalls_total", over="1ms") > before, 5, "the stall counted")
    metrics = relay.metrics()
    bursts = relay.total("turnpike_burst_seconds_count")
    assert bursts > 0 and metrics['turnpike_burst_seconds_bucket{worker="0",le="+Inf"}'] == bursts
    assert 0 < relay.total("turnpike_burst_seconds_sum") < 10
