"""Turnpike and dpdk-testpmd over the same kind of memif link, in turns: both are up, one polls at a time, and each pair of
slices gives one ratio. The host's speed changes by itself, so only what was measured side by side is compared."""

import contextlib
import re
import tempfile
import time

from . import host
from .stats import spread

SLICE_S = 0.5
SETTLE_S = 0.02


def device(socket):
    return f"memif:{socket}"


def paired(pairs, allocations, indications=False):
    flags = ["--allocations", allocations, "--payload", 160] + (["--indications"] if indications else [])
    with tempfile.TemporaryDirectory() as scratch, host.Hugepages():
        ours, theirs = f"{scratch}/turnpike.sock", f"{scratch}/testpmd.sock"
        running = []
        try:
            relay = host.Turnpike(scratch, host.Turnpike.MEMIF.format(socket=ours), max(allocations, 4096),
                                  relayed="10.203.0.0/25" if allocations > 10000 else "10.203.0.1")
            running.append(relay)
            swapper = host.Testpmd(scratch, f"net_memif0,role=server,socket-abstract=no,socket={theirs}",
                                   ["--single-file-segments"])
            running.append(swapper)
            time.sleep(2)
            swapper.hold()
            client = host.Generator(scratch, "turnpike-gen", device(ours), *flags)
            running.append(client)
            client.slice(0.2, timeout=600)
            relay.hold()
            swapper.go_on()
            raw = host.Generator(scratch, "testpmd-gen", device(theirs), "--raw", *flags)
            running.append(raw)
            raw.slice(0.2, timeout=600)
            swapper.hold()
            return compare(pairs, relay, swapper, client, raw)
        finally:
            # A memif whose peer goes while it is polled may crash: so those that poll go first, all at once.
            for process in running:
                process.kill()


def compare(pairs, relay, swapper, client, raw):
    ratios, ours, theirs, cycles, fills, idle = [], [], [], [], [], []
    for i in range(pairs):
        halves = {}
        for which in (("turnpike", "testpmd") if i % 2 == 0 else ("testpmd", "turnpike")):
            server, generator = (relay, client) if which == "turnpike" else (swapper, raw)
            server.go_on()
            time.sleep(SETTLE_S)
            before = relay.metrics() if which == "turnpike" else None
            halves[which] = generator.slice(SLICE_S)
            if before:
                after = relay.metrics()
                delta = {name: sum(after[s] - before.get(s, 0) for s in after if s.split("{")[0] == f"turnpike_worker_{name}")
                         for name in ("busy_cycles_total", "received_packets_total", "bursts_total")}
                cycles.append(delta["busy_cycles_total"] / max(1, delta["received_packets_total"]))
                fills.append(delta["received_packets_total"] / max(1, delta["bursts_total"]))
                hz = after["turnpike_tsc_hertz"]
            server.hold()
        ours.append(halves["turnpike"]["mpps"])
        theirs.append(halves["testpmd"]["mpps"])
        ratios.append(ours[-1] / theirs[-1])
        idle.append([halves["turnpike"]["generator_idle"], halves["testpmd"]["generator_idle"]])
        for which, report in halves.items():
            if report["corrupted"] or report["wrong_receiver"]:
                raise RuntimeError(f"{which} corrupted or misdelivered packets: {report}")
    return {"ratio": spread(ratios), "turnpike_mpps": spread(ours), "testpmd_mpps": spread(theirs),
            "turnpike_cycles_per_packet": spread(cycles), "turnpike_burst_fill": spread(fills),
            "testpmd_cycles_per_packet": spread([hz / (m * 1e6) for m in theirs]),
            "generator_idle_turnpike": spread([a for a, _ in idle]),
            "generator_idle_testpmd": spread([b for _, b in idle])}


@contextlib.contextmanager
def relay(allocations=1000):
    """A Turnpike that serves a memif: (scratch directory, socket, the process)."""
    with tempfile.TemporaryDirectory() as scratch, host.Hugepages():
        socket = f"{scratch}/turnpike.sock"
        server = host.Turnpike(scratch, host.Turnpike.MEMIF.format(socket=socket), max(allocations, 4096))
        try:
            yield scratch, socket, server
        finally:
            server.kill()


def alone(allocations, *flags):
    """One run of the generator against one Turnpike over memif."""
    with relay(allocations) as (_, socket, _server):
        return host.generate(device(socket), "--allocations", allocations, "--payload", 160, *flags)


def percentile(before, after, name, share):
    """Seconds that `share` of what a histogram took between two looks at the metrics doesn't exceed, all workers together;
    within a bucket by straight line, as histogram_quantile() has it."""
    counts = {}
    for series, value in after.items():
        if series.split("{")[0] == f"turnpike_{name}_bucket":
            bound = float(re.search(r'le="([^"]+)"', series)[1].replace("+Inf", "inf"))
            counts[bound] = counts.get(bound, 0) + value - before.get(series, 0)
    total = counts.get(float("inf"), 0)
    low, below = 0, 0
    for bound in sorted(counts):
        if counts[bound] >= share * total:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (share * total - below) / max(1, counts[bound] - below)
        low, below = bound, counts[bound]
    return low


def watched(allocations, rate, seconds):
    """One run of the generator, every packet stamped, and what the relay says of the same seconds: (report, relay's)."""
    with relay(allocations) as (scratch, socket, server):
        generator = host.Generator(scratch, "watched", device(socket), "--allocations", allocations, "--payload", 160,
                                   light=False)
        try:
            generator.slice(0.3, rate)
            before = server.metrics()
            report = generator.slice(seconds, rate)
            after = server.metrics()
        finally:
            generator.kill()
            time.sleep(0.2)  # for the relay to see that its peer has gone

    def stalls(over):
        return sum(after[s] - before.get(s, 0) for s in after
                   if s.split("{")[0] == "turnpike_worker_stalls_total" and f'over="{over}"' in s) / seconds
    return report, {"residence_p50_us": percentile(before, after, "burst_seconds", 0.5) * 1e6,
                    "residence_p99_us": percentile(before, after, "burst_seconds", 0.99) * 1e6,
                    "stalls_over_20us_per_s": stalls("20us"), "stalls_over_100us_per_s": stalls("100us")}
