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


def relayed_for(allocations, ipv6=False):
    """Addresses with ports for so many: one has 16,384."""
    addresses = ("10.203.0.1", "fd00:203::1") if allocations <= 10000 else ("10.203.0.0/25", "fd00:203::/121")
    return addresses if ipv6 else addresses[:1]


def flags_of(allocations, indications=False, clients=4, peers=4):
    flags = ["--allocations", allocations, "--payload", 160, "--family", clients, "--peer-family", peers]
    return flags + (["--indications"] if indications else [])


def paired(pairs, allocations, indications=False, clients=4, peers=4):
    """Turnpike and testpmd; `clients` and `peers`: of which family (4 or 6)."""
    flags = flags_of(allocations, indications, clients, peers)

    def relay(scratch, socket):
        return host.Turnpike(
            scratch,
            host.Turnpike.MEMIF.format(socket=socket),
            max(allocations, 4096),
            relayed=relayed_for(allocations, 6 in (clients, peers)),
        )

    def swapper(scratch, socket):
        return host.Testpmd(
            scratch, f"net_memif0,role=server,socket-abstract=no,socket={socket}", ["--single-file-segments"]
        )

    details = in_turns(pairs, {"turnpike": (relay, flags), "testpmd": (swapper, ["--raw", *flags])})
    added = [
        hz / (ours * 1e6) - hz / (theirs * 1e6)
        for hz, ours, theirs in zip(details.pop("hertz"), details.pop("turnpike"), details.pop("testpmd"))
    ]
    return {**details, "cycles_added": spread(added)}


def many_relayed(pairs, allocations=1000, addresses=256):
    """One relay with many relayed addresses, and one with a single one."""

    def relay(number, relayed):
        return lambda scratch, socket: host.Turnpike(
            scratch, host.Turnpike.MEMIF.format(socket=socket), max(allocations, 4096), relayed=[relayed], number=number
        )

    flags = flags_of(allocations)
    many = f"relayed_{addresses}"
    details = in_turns(
        pairs,
        {
            many: (relay(0, f"10.203.1.0/{32 - (addresses - 1).bit_length()}"), flags),
            "relayed_1": (relay(1, "10.203.0.1"), flags),
        },
    )
    for raw in (many, "relayed_1", "hertz"):
        details.pop(raw)
    return details


# A thousand patterns that media don't match, besides those that are built in.
RULES = '[[payload.rule]]\nprotocol = "abuse"\naction = "drop"\n' + "".join(
    f'[[payload.rule]]\nname = "r{i}"\npattern = "^(GET|PUT) /{i:03x}[a-z]+{i:03x}|{i:03x}(ab|cd){i:03x}"\naction = "drop"\n'
    for i in range(1000)
)
METERS = (
    "bandwidth = 1000000000000\nbandwidth_per_user = 100000000000\nbandwidth_per_allocation = 10000000000\n"
    "packet_rate_per_allocation = 100000000\n"
)


def policed(pairs, how, allocations=1000, clients=4, peers=4, turnover=0):
    """One relay that watches what it relays, by `how` in its configuration, and one that doesn't; with `turnover`, so many flows a
    second are new to both."""

    def relay(number, limits):
        return lambda scratch, socket: host.Turnpike(
            scratch,
            host.Turnpike.MEMIF.format(socket=socket),
            max(allocations, 4096),
            relayed=relayed_for(allocations, 6 in (clients, peers)),
            limits=limits,
            number=number,
        )

    at_a_time = allocations
    if turnover:
        # Each side has its own, for the first look and half a second of each pair.
        allocations += int(turnover * (1 + SLICE_S * pairs))
    flags = flags_of(allocations, clients=clients, peers=peers)
    if turnover:
        flags += ["--at-a-time", at_a_time, "--turnover", turnover]
    details = in_turns(pairs, {"watched": (relay(0, how), flags), "plain": (relay(1, ""), flags)})
    for raw in ("watched", "plain", "hertz"):
        details.pop(raw)
    return details


def in_turns(pairs, sides):
    """What `sides` do, {name: (start, flags of the generator)}: the first over the second."""
    with tempfile.TemporaryDirectory() as scratch, host.Hugepages():
        running, turns = [], {}
        try:
            servers = {}
            for name, (start, _) in sides.items():
                servers[name] = start(scratch, f"{scratch}/{name}.sock")
                running.append(servers[name])
                time.sleep(2)
                servers[name].hold()
            for name, (_, flags) in sides.items():
                servers[name].go_on()
                generator = host.Generator(scratch, f"{name}-gen", device(f"{scratch}/{name}.sock"), *flags)
                running.append(generator)
                generator.slice(0.2, timeout=600)
                servers[name].hold()
                turns[name] = servers[name], generator
            return compare(pairs, turns)
        finally:
            # A memif whose peer goes while it is polled may crash: so those that poll go first, all at once.
            for process in running:
                process.kill()


def work(before, after):
    """Of a relay's worker between two looks at its metrics: (busy cycles a packet, packets a burst)."""
    busy, packets, bursts = (
        sum(after[s] - before.get(s, 0) for s in after if s.split("{")[0] == f"turnpike_worker_{name}")
        for name in ("busy_cycles_total", "received_packets_total", "bursts_total")
    )
    return busy / max(1, packets), packets / max(1, bursts)


def compare(pairs, turns):
    names = list(turns)
    reports = {name: [] for name in names}
    cycles, fills = ({name: [] for name in names} for _ in range(2))
    hertz = []
    for i in range(pairs):
        for name in names if i % 2 == 0 else names[::-1]:
            server, generator = turns[name]
            server.go_on()
            time.sleep(SETTLE_S)
            watched = isinstance(server, host.Turnpike)
            before = server.metrics() if watched else None
            report = generator.slice(SLICE_S)
            if watched:
                after = server.metrics()
                each, fill = work(before, after)
                cycles[name].append(each)
                fills[name].append(fill)
                hz = after["turnpike_tsc_hertz"]
            server.hold()
            if report["corrupted"] or report["wrong_receiver"]:
                raise RuntimeError(f"{name} corrupted or misdelivered packets: {report}")
            reports[name].append(report)
        hertz.append(hz)
    rates = {name: [report["mpps"] for report in reports[name]] for name in names}
    details = {"ratio": spread([a / b for a, b in zip(*rates.values())]), "hertz": hertz, **rates}
    for name in names:
        details[f"{name}_mpps"] = spread(rates[name])
        details[f"{name}_cycles_per_packet"] = spread(
            cycles[name] or [hz / (mpps * 1e6) for hz, mpps in zip(hertz, rates[name])]
        )
        if fills[name]:
            details[f"{name}_burst_fill"] = spread(fills[name])
        details[f"generator_idle_{name}"] = spread([report["generator_idle"] for report in reports[name]])
    return details


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
        generator = host.Generator(
            scratch, "watched", device(socket), "--allocations", allocations, "--payload", 160, light=False
        )
        try:
            generator.slice(0.3, rate)
            before = server.metrics()
            report = generator.slice(seconds, rate)
            after = server.metrics()
        finally:
            generator.kill()
            time.sleep(0.2)  # for the relay to see that its peer has gone

    def stalls(over):
        return (
            sum(
                after[s] - before.get(s, 0)
                for s in after
                if s.split("{")[0] == "turnpike_worker_stalls_total" and f'over="{over}"' in s
            )
            / seconds
        )

    return report, {
        "residence_p50_us": percentile(before, after, "burst_seconds", 0.5) * 1e6,
        "residence_p99_us": percentile(before, after, "burst_seconds", 0.99) * 1e6,
        "stalls_over_20us_per_s": stalls("20us"),
        "stalls_over_100us_per_s": stalls("100us"),
    }
