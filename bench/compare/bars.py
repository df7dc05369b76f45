"""What is measured, under its name in the JSON: each gives (value, details)."""

import subprocess
import tempfile
import time
from collections import namedtuple
from pathlib import Path

from . import host, memif, veth
from .stats import spread

Bar = namedtuple("Bar", "aim what measure")


def over_testpmd(allocations, indications=False):
    def measure(options):
        details = memif.paired(options.pairs, allocations, indications)
        return details["ratio"]["median"], details
    return measure


def latency(_options):
    """Searches the no-drop rate, then sends half of it."""
    found = memif.alone(1000, "--light", "--mode", "search", "--seconds", 0.5, "--no-ceiling")
    half = found["no_drop"]["mpps"] * 1e6 / 2
    relayed, looped = [], []
    for _ in range(5):
        run = memif.alone(1000, "--light", "--rate", half, "--seconds", 2, "--warm-up", 0.3, "--no-ceiling")
        relayed.append(run)
        loop = host.generate("memif:unused", "--loop", "--light", "--rate", half, "--seconds", 2, "--warm-up", 0.3,
                             "--allocations", 1000, "--payload", 160, "--no-ceiling", "--loop-core", host.RELAY_CORE)
        looped.append(loop)
    worst = [max(r["up"]["latency_us"]["p99"], r["down"]["latency_us"]["p99"]) for r in relayed]
    floor = [max(r["up"]["latency_us"]["p50"], r["down"]["latency_us"]["p50"]) for r in looped]
    added = [w - f for w, f in zip(worst, floor)]
    return spread(added)["median"], {
        "no_drop_mpps": found["no_drop"]["mpps"], "rate_mpps": half / 1e6, "added_p99_us": spread(added),
        "p99_us": spread(worst), "generator_alone_p50_us": spread(floor),
        "p50_us": spread([r["up"]["latency_us"]["p50"] for r in relayed])}


def allocates(_options):
    rates = [host.micro("server", "--benchmark_min_time=1")["allocate/manual_time"]["allocates_per_s"] for _ in range(5)]
    return spread(rates)["median"], {"allocates_per_cpu_second": spread(rates)}


def bindings(options):
    runs = [memif.alone(1000, "--mode", "binding", "--light", "--rate", 0, "--seconds", 1, "--warm-up", 0.2, "--no-ceiling")
            for _ in range(options.rounds)]
    return spread([r["mpps"] * 1e6 for r in runs])["median"], {"mpps": spread([r["mpps"] for r in runs])}


def memory_of(pid):
    """Resident bytes, hugepages counted. Buffers of DPDK are the same in both runs."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines()
               if line.split(":")[0] in ("Rss", "Private_Hugetlb", "Shared_Hugetlb"))


def bytes_per_allocation(_options):
    used = {}
    for count in (1000, 1000000):
        with tempfile.TemporaryDirectory() as scratch:
            socket = f"{scratch}/memif.sock"
            relay = host.Turnpike(
                scratch, host.Turnpike.MEMIF.format(socket=socket) + "queues = 1\n", count, workers=2,
                relayed="10.203.0.0/25", more="hugepages = false\nidle_sleep_us = 50",
                limits="permissions_per_allocation = 1\nchannels_per_allocation = 1")
            try:
                host.run_generator(f"memif:{socket}", "--allocations", count, "--no-hugepages", "--no-ceiling", "--lifetime",
                                   3600, "--setup-only", f"{scratch}/flows")
                if relay.total("channels") != count:
                    raise RuntimeError(f"{relay.total('channels')} channels instead of {count}")
                used[count] = memory_of(relay.pid)
            finally:
                relay.kill()
    each = (used[1000000] - used[1000]) / 999000
    return round(each), {"bytes_at_1000": used[1000], "bytes_at_1000000": used[1000000]}


def media_under_attack(options):
    """Media at a third of the no-drop rate, with each attack at what the ring still takes."""
    found = memif.alone(1000, "--mode", "search", "--seconds", 0.5, "--no-ceiling")
    third = found["no_drop"]["mpps"] * 1e6 / 3
    details = {"no_drop_mpps": found["no_drop"]["mpps"], "media_mpps": third / 1e6}
    worst = 0
    for kind in ("bogus", "allocate", "malformed"):
        losses = {}
        for attack in (0.5, 1, 2):  # times the media's rate
            runs = [memif.alone(1000, "--rate", third, "--attack", kind, "--attack-rate", third * attack, "--seconds", 1,
                                "--warm-up", 0.2, "--no-ceiling") for _ in range(options.rounds)]
            losses[f"attack of {attack} times the media"] = spread([r["loss"] for r in runs])
        details[kind] = losses
        worst = max(worst, losses["attack of 2 times the media"]["median"])
    return worst, details


def over_coturn(options):
    details = veth.compare(options.rounds)
    return round(details["ratio_to_coturn"]["median"], 2), details


def over_testpmd_veth(options):
    details = veth.compare(options.rounds)
    return round(details["ratio_to_testpmd"]["median"], 3), details


ALL = {
    "memif_1k_over_testpmd": Bar("at least 0.60", "ChannelData, 160 bytes, 1,000 channels", over_testpmd(1000)),
    "memif_indications_over_testpmd": Bar("at least 0.50", "Send and Data, 1,000 permissions", over_testpmd(1000, True)),
    "memif_100k_over_testpmd": Bar("at least 0.52", "ChannelData, 100,000 channels", over_testpmd(100000)),
    "memif_1m_over_testpmd": Bar("at least 0.42", "ChannelData, 1,000,000 channels", over_testpmd(1000000)),
    "af_xdp_over_coturn": Bar("at least 3", "best delivered rate over the same veth", over_coturn),
    "af_xdp_over_testpmd": Bar("at least 0.85", "best delivered rate over the same veth", over_testpmd_veth),
    "latency_added_p99_us": Bar("at most 20", "at half of the no-drop rate over memif", latency),
    "allocates_per_s": Bar("at least 100,000", "authenticated Allocates, CPU second of an engine shard", allocates),
    "bindings_per_s": Bar("at least 3,000,000", "Binding responses of one worker", bindings),
    "bytes_per_allocation": Bar("at most 1,024", "with one permission and one channel, 1,000,000 of them",
                                bytes_per_allocation),
    "media_loss_under_attack": Bar("at most 0.001", "media at a third of the no-drop rate", media_under_attack),
}
