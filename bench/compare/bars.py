"""What is measured, under its name in the JSON: each gives (value, details)."""

import functools
import subprocess
import tempfile
import time
from collections import namedtuple
from pathlib import Path

from . import host, memif, streams, veth
from .stats import spread

Bar = namedtuple("Bar", "aim what measure")
RING_IS_FULL = 0.001  # the share of an attack that is refused


@functools.cache
def over_memif(pairs, *what):
    return memif.paired(pairs, *what)


def over_testpmd(*what):
    def measure(options):
        details = over_memif(options.pairs, *what)
        return details["ratio"]["median"], details

    return measure


def cycles_added(options):
    """What a packet costs the relay's core more than testpmd's: the cycles between packets, in turns. Unlike a ratio it
    doesn't come nearer to 1 where the link itself is slow."""
    details = over_memif(options.pairs, 1000)
    return round(details["cycles_added"]["median"], 1), {"cycles_added": details["cycles_added"]}


def v4_to_v6(options):
    details = dict(over_memif(options.pairs, 1000, False, 4, 6))
    details["clients_on_v6_peers_on_v4"] = over_memif(options.pairs, 1000, False, 6, 4)
    return details["ratio"]["median"], details


def policed(how, family, turnover=0):
    def measure(options):
        details = memif.policed(options.pairs, how, clients=family, peers=family, turnover=turnover)
        return details["ratio"]["median"], details

    return measure


def relayed_256(options):
    details = memif.many_relayed(options.pairs)
    return details["ratio"]["median"], details


@functools.cache
def latencies(rounds):
    """Searches the no-drop rate, then sends half of it, each packet stamped: through the relay, and looped in the generator,
    in turns. What a machine does to everything (stalls) is in both; what the relay does, its own histogram tells."""
    found = memif.alone(1000, "--light", "--mode", "search", "--seconds", 0.5, "--no-ceiling")
    half = found["no_drop"]["mpps"] * 1e6 / 2
    relayed, looped, told, stalled = [], [], [], []
    for _ in range(rounds):
        report, residence = memif.watched(1000, half, 2)
        relayed.append(report)
        told.append(residence)
        looped.append(
            host.generate(
                "memif:unused",
                "--loop",
                "--allocations",
                1000,
                "--payload",
                160,
                "--loop-core",
                host.RELAY_CORE,
                "--rate",
                half,
                "--seconds",
                2,
                "--warm-up",
                0.3,
                "--no-ceiling",
            )
        )
        stalled.append(max(host.stalls(core) for core in (host.RELAY_CORE, host.GENERATOR_CORE)))

    def worse(runs, percentile):
        return [max(run["up"]["latency_us"][percentile], run["down"]["latency_us"][percentile]) for run in runs]

    return {
        "no_drop_mpps": found["no_drop"]["mpps"],
        "rate_mpps": half / 1e6,
        "added_p99_us": spread([p99 - floor for p99, floor in zip(worse(relayed, "p99"), worse(looped, "p99"))]),
        **{key: spread([each[key] for each in told]) for key in told[0]},
        **{
            f"{name}_{percentile}_us": spread(worse(runs, percentile))
            for name, runs in (("relayed", relayed), ("looped", looped))
            for percentile in ("p50", "p90", "p99")
        },
        "share_of_time_stalled_over_20_us": spread(stalled),
    }


def latency(key):
    def measure(options):
        details = latencies(options.rounds)
        return round(details[key]["median"], 1), details

    return measure


@functools.cache
def request_latencies(rounds):
    """Refreshes and ChannelBinds beside media at half of the no-drop rate, both through one worker; at most four requests
    in flight, for a burst of a thousand tells how many a shard serves in a second, and not how soon."""
    no_drop = memif.alone(1000, "--light", "--mode", "search", "--seconds", 0.5, "--no-ceiling")["no_drop"]["mpps"]
    runs = [
        memif.alone(1000, "--rate", no_drop * 1e6 / 2, "--refresh", 1, "--window", 4, "--seconds", 3, "--no-ceiling")[
            "refresh_latency_us"
        ]
        for _ in range(rounds)
    ]
    return {
        "media_mpps": no_drop / 2,
        "requests": spread([run["count"] for run in runs]),
        "p50_us": spread([run["p50"] for run in runs]),
        "p99_us": spread([run["p99"] for run in runs]),
    }


def requests(key):
    def measure(options):
        details = request_latencies(options.rounds)
        return details[key]["median"], details

    return measure


def allocates(_options):
    rates = [
        host.micro("server", "--benchmark_min_time=1")["allocate/manual_time"]["allocates_per_s"] for _ in range(5)
    ]
    return spread(rates)["median"], {"allocates_per_cpu_second": spread(rates)}


def bindings(options):
    runs = [
        memif.alone(1000, "--mode", "binding", "--light", "--rate", 0, "--seconds", 1, "--warm-up", 0.2, "--no-ceiling")
        for _ in range(options.rounds)
    ]
    return spread([r["mpps"] * 1e6 for r in runs])["median"], {"mpps": spread([r["mpps"] for r in runs])}


def memory_of(pid):
    """Resident bytes, hugepages counted. Buffers of DPDK are the same in both runs."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(
        int(line.split()[1]) * 1024
        for line in text.splitlines()
        if line.split(":")[0] in ("Rss", "Private_Hugetlb", "Shared_Hugetlb")
    )


def bytes_per_allocation(_options):
    used = {}
    for count in (1000, 1000000):
        with tempfile.TemporaryDirectory() as scratch:
            socket = f"{scratch}/memif.sock"
            relay = host.Turnpike(
                scratch,
                host.Turnpike.MEMIF.format(socket=socket) + "queues = 1\n",
                count,
                workers=2,
                relayed=["10.203.0.0/25"],
                more="hugepages = false\nidle_sleep_us = 50",
                limits="permissions_per_allocation = 1\nchannels_per_allocation = 1",
            )
            try:
                host.run_generator(
                    f"memif:{socket}",
                    "--allocations",
                    count,
                    "--no-hugepages",
                    "--no-ceiling",
                    "--lifetime",
                    3600,
                    "--setup-only",
                    f"{scratch}/flows",
                )
                if relay.total("channels") != count:
                    raise RuntimeError(f"{relay.total('channels')} channels instead of {count}")
                used[count] = memory_of(relay.pid)
            finally:
                relay.kill()
    each = (used[1000000] - used[1000]) / 999000
    return round(each), {"bytes_at_1000": used[1000], "bytes_at_1000000": used[1000000]}


def share(part, whole):
    return part / whole if whole else 0


def under_attack(scratch, socket, kind, media_pps, attack_pps, rounds):
    """Losses of media and of the attack's frames, beside each other: what the ring refused, and what the relay lost."""
    flags = ["--attack", kind, "--attack-rate", attack_pps] if kind else []
    generator = host.Generator(
        scratch,
        "attacker",
        f"memif:{socket}",
        "--allocations",
        1000,
        "--payload",
        160,
        "--rate",
        media_pps,
        *flags,
        light=False,
    )
    try:
        generator.slice(0.2)
        runs = [generator.slice(0.5) for _ in range(rounds)]
    finally:
        generator.kill()
        time.sleep(0.2)  # for the relay to see that its peer has gone
    media, attack = [], []
    for run in runs:
        due = run["sent"] + run["refused"] - run["skipped"]
        media.append(share(due - run["delivered"], due))
        attack.append(share(run.get("attack_refused", 0), run.get("attack_sent", 0) + run.get("attack_refused", 0)))
    return {"attack_mpps": attack_pps / 1e6, "media_loss": spread(media), "attack_refused": spread(attack)}


def around_the_limit(measure):
    """Doubles an attack's rate until the ring refuses what comes: the last step before that, and the first past it. A
    machine that stalls may have to begin below."""

    def full(step):
        return step["attack_refused"]["median"] > RING_IS_FULL

    attack_pps = 200_000
    past = within = measure(attack_pps)
    while full(within) and attack_pps > 10_000:
        attack_pps /= 2
        past, within = within, measure(attack_pps)
    while not full(past) and attack_pps < 1e7:
        attack_pps *= 2
        within, past = past, measure(attack_pps)
    return within, past


def media_under_attack(options):
    """Media at a third of the no-drop rate, beside attacks at the ring's limit."""
    no_drop = memif.alone(1000, "--mode", "search", "--seconds", 0.5, "--no-ceiling")["no_drop"]["mpps"]
    media_pps = no_drop * 1e6 / 3
    details = {
        "no_drop_mpps": no_drop,
        "media_mpps": media_pps / 1e6,
        "share_of_time_stalled_over_20_us": max(host.stalls(core) for core in (host.RELAY_CORE, host.GENERATOR_CORE)),
    }
    worst = 0
    with memif.relay() as (scratch, socket, _server):
        details["no attack"] = under_attack(scratch, socket, None, media_pps, 0, options.rounds)
        for kind in ("bogus", "allocate", "malformed", "bombs", "bindings", "channels", "fragments", "users", "all"):
            within, past = around_the_limit(
                lambda pps, kind=kind: under_attack(scratch, socket, kind, media_pps, pps, options.rounds)
            )
            details[kind] = {"at the ring's limit": within, "past it": past}
            worst = max(worst, within["media_loss"]["median"])
    return worst, details


def two_workers(options):
    """Cycles a packet of two workers with the same tables, over those of two processes that share nothing: both have both
    cores busy, so what the cores take from each other is in both, and a shared written line only in the first."""
    name, flags = "channel_data_to_peer/1000", "--benchmark_min_time=0.5"
    cores = [str(host.RELAY_CORE), str(host.GENERATOR_CORE)]
    one, shared, apart = [], [], []
    for _ in range(3 * options.rounds):
        one.append(host.micro("pipeline", f"--benchmark_filter={name}$", flags)[name]["cycles"])
        shared.append(
            host.micros("pipeline", [",".join(cores)], f"--benchmark_filter={name}/threads:2$", flags)[0][
                f"{name}/threads:2"
            ]["cycles"]
        )
        two = host.micros("pipeline", cores, f"--benchmark_filter={name}$", flags)
        apart.append(sum(each[name]["cycles"] for each in two) / 2)
    ratio = spread([a / b for a, b in zip(shared, apart)])
    return ratio["median"], {
        "ratio": ratio,
        "one_worker_cycles": spread(one),
        "two_workers_cycles": spread(shared),
        "two_processes_cycles": spread(apart),
    }


def idle_round(options):
    """A round of a worker that has nothing to do, one of sixteen over the only one: of the many, one that has a queue of
    each port, and one that sends for all others, whichever takes longer."""
    runs = {}
    for _ in range(options.rounds):
        for name, one in host.micro("worker").items():
            runs.setdefault(name.split("/iterations")[0].removeprefix("idle_round/"), []).append(one["cycles"])
    least = {name: min(cycles) for name, cycles in runs.items()}
    alone = least.pop("1_workers/1_queues")
    return round(max(least.values()) / alone, 3), {name: spread(cycles) for name, cycles in runs.items()}


def over_veth(other, digits):
    def measure(options):
        details = veth.compare(options.pairs)
        return round(details[f"ratio_to_{other}"]["median"], digits), details

    return measure


def over_coturn(transport):
    return lambda options: streams.over_coturn(max(3, options.pairs // 3), transport)


ALL = {
    "memif_1k_over_testpmd": Bar("at least 0.68", "ChannelData, 160 bytes, 1,000 channels", over_testpmd(1000)),
    "memif_1k_cycles_added": Bar("under 70", "a packet's cycles more than testpmd's, in the same runs", cycles_added),
    "memif_indications_over_testpmd": Bar(
        "at least 0.60", "Send and Data, 1,000 permissions", over_testpmd(1000, True)
    ),
    "memif_100k_over_testpmd": Bar("at least 0.52", "ChannelData, 100,000 channels", over_testpmd(100000)),
    "memif_1m_over_testpmd": Bar("at least 0.42", "ChannelData, 1,000,000 channels", over_testpmd(1000000)),
    "memif_v6_1k_over_testpmd": Bar(
        "at least 0.62", "the same over IPv6, 1,000 channels", over_testpmd(1000, False, 6, 6)
    ),
    "memif_v6_100k_over_testpmd": Bar(
        "at least 0.52", "over IPv6, 100,000 channels", over_testpmd(100000, False, 6, 6)
    ),
    "memif_v4_to_v6_over_testpmd": Bar("at least 0.55", "clients on IPv4, peers on IPv6, 1,000 channels", v4_to_v6),
    "relayed_256_over_1": Bar("at least 0.95", "256 relayed addresses over one, 1,000 channels", relayed_256),
    "rules_over_none": Bar(
        "at least 0.97", "1,000 payload rules, all flows decided, over none; 1,000 channels", policed(memif.RULES, 4)
    ),
    "rules_over_none_turnover": Bar(
        "at least 0.90", "the same with a tenth of the flows new each second", policed(memif.RULES, 4, 100)
    ),
    "rules_over_none_v6": Bar("at least 0.97", "the same over IPv6", policed(memif.RULES, 6)),
    "meters_over_none": Bar(
        "at least 0.95",
        "limits of node, user and allocation, none of them met, over none; 1,000 channels",
        policed(memif.METERS, 4),
    ),
    "meters_over_none_v6": Bar("at least 0.95", "the same over IPv6", policed(memif.METERS, 6)),
    "af_xdp_over_coturn": Bar("at least 3.5", "best delivered rate, each behind a veth", over_veth("coturn", 2)),
    "af_xdp_over_testpmd": Bar(
        "0.92, quartile 0.85", "best delivered rate, each behind a veth", over_veth("testpmd", 3)
    ),
    "latency_added_p99_us": Bar(
        "at most 20", "p99 above the looped generator's, at half of the no-drop rate", latency("added_p99_us")
    ),
    "residence_p99_us": Bar(
        "at most 20", "a burst in the relay, from received to sent, in the same runs", latency("residence_p99_us")
    ),
    "request_p50_us": Bar("at most 60", "Refresh and ChannelBind beside media", requests("p50_us")),
    "request_p99_us": Bar("at most 300", "in the same runs", requests("p99_us")),
    "allocates_per_s": Bar("at least 100,000", "authenticated Allocates, CPU second of an engine shard", allocates),
    "bindings_per_s": Bar("at least 3,000,000", "Binding responses of one worker", bindings),
    "bytes_per_allocation": Bar(
        "at most 1,024", "with one permission and one channel, 1,000,000 of them", bytes_per_allocation
    ),
    "two_workers_over_two_processes": Bar("about 1", "cycles a packet: shared tables, nothing shared", two_workers),
    "idle_round_16_over_1": Bar("at most 1.2", "cycles of a round without work, 16 workers over 1", idle_round),
    "media_loss_under_attack": Bar("at most 0.001", "media at a third of the no-drop rate", media_under_attack),
    "tcp_over_coturn": Bar(
        "at least 2", "clients by TCP, 160 bytes, the worse direction, one core each", over_coturn("tcp")
    ),
    "tls_over_coturn": Bar("at least 2", "by TLS", over_coturn("tls")),
    "dtls_over_coturn": Bar("at least 1.5", "by DTLS", over_coturn("dtls")),
    "tls_over_nginx": Bar(
        "at least 0.8",
        "1,200 bytes by TLS, over nginx's stream module that passes them on by TCP",
        lambda options: streams.over_nginx(max(3, options.pairs // 3)),
    ),
    "handshakes_over_s_server": Bar(
        "at least 0.8",
        "TLS handshakes a CPU second, the worse of full and resumed",
        lambda options: streams.handshakes(options.rounds),
    ),
    "kib_per_idle_tls": Bar(
        "at most 64", "resident, a TLS connection with an allocation", lambda _options: streams.kib_per_idle()
    ),
}
