"""Turnpike (af_xdp, af_packet), coturn and dpdk-testpmd, each behind a veth of its own, with the same generator on af_xdp at
the other end, one core each. All are up at once and one runs at a time, in short turns; each pair of turns gives one ratio.
What a server delivers at its best counts, since one that is offered too much may deliver less.

A veth has two speeds, from one start to the next, for all servers alike: so everything is started several times, and each
start's speed is told by testpmd's rate.

The kernel's part of receiving runs on the sender's core for all of them (veth hands a frame over where it was sent), so
it is the generator's share, and coturn gains the most from that."""

import contextlib
import functools
import os
import subprocess
import tempfile
import time
from pathlib import Path

from . import host
from .stats import quantile, spread

LEAST_PPS, STEP = (
    50_000,
    1.35,
)  # the sweep at a start, until a server twice delivers less than BEYOND of what it is offered
BEYOND = 0.7
AROUND = (0.87, 1, 1.15)  # then in each turn, around what was best in the turn before
SLICE_S, WARM_UP_S = 0.3, 0.1  # the latter before each of the former
STARTS = 5
SLOW_BELOW_MPPS = 0.55  # testpmd's rate where a start is a slow one: 0.45 and 0.65 Mpps were seen
ALLOCATIONS = 100


class Link:
    """Two namespaces joined by a veth: gen (g0, no address of the kernel's) and srv (s0, 10.203.0.1)."""

    def __init__(self, number=0):
        self.gen, self.srv = (f"tpb-{os.getpid()}-{number}-{end}" for end in ("gen", "srv"))

    def __enter__(self):
        def ip(*words):
            subprocess.run(["ip", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        one_queue = ("numrxqueues", "1", "numtxqueues", "1")
        for name in (self.gen, self.srv):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        here = ("g0", "netns", self.gen, *one_queue)
        there = ("s0", "netns", self.srv, *one_queue)
        ip("link", "add", *here, "type", "veth", "peer", "name", *there)
        ip("-n", self.srv, "addr", "add", "10.203.0.1/24", "dev", "s0")
        ip("-n", self.gen, "link", "set", "g0", "up")
        ip("-n", self.srv, "link", "set", "s0", "up")
        for prefix in ("10.204.0.0/16", "10.205.0.0/16"):
            ip("-n", self.srv, "route", "add", prefix, "via", "10.203.0.254")
        return self

    def __exit__(self, *_):
        for name in (self.gen, self.srv):
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)

    def mac(self):
        """The server's."""
        shown = subprocess.run(
            ["ip", "-n", self.srv, "-br", "link", "show", "s0"], capture_output=True, text=True, check=True
        )
        return shown.stdout.split()[2]


def start_turnpike(driver):
    def start(scratch, link):
        port = f'[[port]]\ndevice = "{driver}:s0"\n'
        return host.Turnpike(scratch, port, netns=link.srv)

    return start


def start_coturn(scratch, link):
    process = host.Process(
        [
            "taskset",
            "-c",
            host.RELAY_CORE,
            host.need("turnserver", "coturn"),
            "-n",
            "-L",
            "10.203.0.1",
            "-E",
            "10.203.0.1",
            "--lt-cred-mech",
            "-u",
            "alice:secret",
            "-r",
            "example.org",
            "-m",
            "1",
            "--no-cli",
            "--no-tls",
            "--no-dtls",
            "--log-file",
            "stdout",
            "--pidfile",
            f"{scratch}/coturn.pid",
            "--db",
            f"{scratch}/coturn.db",
        ],
        Path(scratch, "coturn.log"),
        netns=link.srv,
    )
    time.sleep(1.5)
    return process


def start_testpmd(scratch, link):
    process = host.Testpmd(scratch, "net_af_xdp0,iface=s0", netns=link.srv)
    time.sleep(2.5)
    return process


# Of each how it starts, and its generator's flags.
SERVERS = {
    "turnpike af_xdp": (start_turnpike("af_xdp"), ()),
    "turnpike af_packet": (start_turnpike("af_packet"), ()),
    "coturn": (start_coturn, ()),
    "testpmd": (start_testpmd, ("--raw", "--gateway-mac")),
}


class Side:
    """A server with its generator, on a link of their own; held but in its turns."""

    def __init__(self, stack, scratch, number, start, flags):
        folder = Path(scratch, str(number))
        folder.mkdir()
        link = stack.enter_context(Link(number))
        self.server = start(folder, link)
        stack.callback(self.server.end)
        if "--gateway-mac" in flags:
            flags = [*flags, link.mac()]
        self.generator = host.Generator(
            folder,
            "generator",
            "af_xdp:g0",
            "--address",
            "10.203.0.254",
            "--allocations",
            ALLOCATIONS,
            "--payload",
            160,
            "--warm-up",
            0,
            *flags,
            netns=link.gen,
        )
        stack.callback(self.generator.kill)
        self.rate = LEAST_PPS
        self.sweep()
        self.server.hold()

    def deliver(self, rate):
        """(Mpps delivered of what is offered, CPU seconds a million packets)."""
        self.generator.slice(WARM_UP_S, rate)
        began = host.cpu_seconds(self.server.pid)
        report = self.generator.slice(SLICE_S, rate)
        spent = host.cpu_seconds(self.server.pid) - began
        if report["corrupted"] or report["wrong_receiver"]:
            raise RuntimeError(f"packets corrupted or misdelivered: {report}")
        return report["mpps"], spent / max(1, report["delivered"]) * 1e6

    def sweep(self, least=LEAST_PPS, step=STEP, beyond=BEYOND):
        """Finds the offered rate of which most is delivered."""
        rate, most, fallen = least, 0, 0
        while fallen < 2:
            mpps, _ = self.deliver(rate)
            if mpps > most:
                self.rate, most = rate, mpps
            fallen += mpps * 1e6 < rate * beyond
            rate = round(rate * step)

    def turn(self):
        """What deliver() tells of the best rate."""
        self.server.go_on()
        tried = {rate: self.deliver(rate) for rate in (round(self.rate * factor) for factor in AROUND)}
        self.server.hold()
        self.rate = max(tried, key=tried.get)
        return tried[self.rate]


def in_turns(starts, turns, sides):
    """What `sides` do, {name: (start, flags of the generator)}: for each start {name: [(Mpps, CPU seconds a million)]}."""
    results = []
    for _ in range(starts):
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            stack.enter_context(host.Hugepages())
            running = {name: Side(stack, scratch, number, *side) for number, (name, side) in enumerate(sides.items())}
            names = list(running)
            taken = {name: [] for name in names}
            for i in range(turns):
                for name in names if i % 2 == 0 else names[::-1]:
                    taken[name].append(running[name].turn())
            results.append(taken)
    return results


def ratios(taken, one, other):
    return [a / b for (a, _), (b, _) in zip(taken[one], taken[other])]


def about(taken):
    """One start, in short."""
    testpmd = quantile([mpps for mpps, _ in taken["testpmd"]], 0.5)
    return {
        "speed": "slow" if testpmd < SLOW_BELOW_MPPS else "fast",
        "testpmd_mpps": round(testpmd, 3),
        "ratio_to_testpmd": round(quantile(ratios(taken, "turnpike af_xdp", "testpmd"), 0.5), 3),
        "ratio_to_coturn": round(quantile(ratios(taken, "turnpike af_xdp", "coturn"), 0.5), 3),
    }


@functools.cache
def compare(pairs):
    results = in_turns(STARTS, -(-pairs // STARTS), SERVERS)
    starts = [about(taken) for taken in results]
    slow = sum(start["speed"] == "slow" for start in starts)
    all_of = {name: [turn for taken in results for turn in taken[name]] for name in SERVERS}
    return {
        **{name.replace(" ", "_") + "_mpps": spread([mpps for mpps, _ in of]) for name, of in all_of.items()},
        **{
            name.replace(" ", "_") + "_cpu_s_per_million": spread([cpu for _, cpu in of]) for name, of in all_of.items()
        },
        "ratio_to_coturn": spread(ratios(all_of, "turnpike af_xdp", "coturn")),
        "ratio_to_testpmd": spread(ratios(all_of, "turnpike af_xdp", "testpmd")),
        "starts": starts,
        "speed": f"{len(starts) - slow} fast and {slow} slow starts",
    }
