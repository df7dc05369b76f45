"""Turnpike (af_xdp, af_packet), coturn and dpdk-testpmd behind the same veth, with the same generator on af_xdp at its
other end, one core each, in turns. Each gets a sweep of offered rates; its best delivered rate counts, since a server that
is offered too much may deliver less.

The kernel's part of receiving runs on the sender's core for all of them (veth hands a frame over where it was sent), so
it is the generator's share, and coturn gains the most from that."""

import functools
import os
import subprocess
import tempfile
import time
from pathlib import Path

from . import host
from .stats import spread

LEAST_PPS, STEP = 50_000, 1.35  # the sweep, until a server delivers less than BEYOND of what it is offered
BEYOND = 0.7
FINER = (0.87, 0.93, 1.07, 1.15)  # then around the best
SLICE_S, WARM_UP_S = 0.5, 0.15
ALLOCATIONS = 100


class Link:
    """Two namespaces joined by a veth: gen (g0, no address of the kernel's) and srv (s0, 10.203.0.1)."""

    def __init__(self):
        self.gen, self.srv = f"tpb-{os.getpid()}-gen", f"tpb-{os.getpid()}-srv"

    def __enter__(self):
        def ip(*words):
            subprocess.run(["ip", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        for name in (self.gen, self.srv):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip(
            "link",
            "add",
            "g0",
            "netns",
            self.gen,
            "numrxqueues",
            "1",
            "numtxqueues",
            "1",
            "type",
            "veth",
            "peer",
            "name",
            "s0",
            "netns",
            self.srv,
            "numrxqueues",
            "1",
            "numtxqueues",
            "1",
        )
        ip("-n", self.srv, "addr", "add", "10.203.0.1/24", "dev", "s0")
        ip("-n", self.gen, "link", "set", "g0", "up")
        ip("-n", self.srv, "link", "set", "s0", "up")
        for prefix in ("10.204.0.0/16", "10.205.0.0/16"):
            ip("-n", self.srv, "route", "add", prefix, "via", "10.203.0.254")
        return self

    def __exit__(self, *_):
        for name in (self.gen, self.srv):
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


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


SERVERS = {
    "turnpike af_xdp": (start_turnpike("af_xdp"), ()),
    "turnpike af_packet": (start_turnpike("af_packet"), ()),
    "coturn": (start_coturn, ()),
    "testpmd": (start_testpmd, ("--raw", "--gateway-mac")),
}


def sweep(link, scratch, name):
    """The best delivered rate (Mpps), and the CPU seconds of a million packets at it."""
    start, flags = SERVERS[name]
    server = start(scratch, link)
    generator = None
    tried = {}

    def try_rate(rate):
        generator.slice(WARM_UP_S, rate)
        began = host.cpu_seconds(server.pid)
        report = generator.slice(SLICE_S, rate)
        spent = host.cpu_seconds(server.pid) - began
        if report["corrupted"] or report["wrong_receiver"]:
            raise RuntimeError(f"{name} corrupted or misdelivered packets: {report}")
        tried[rate] = report["mpps"], spent / max(1, report["delivered"]) * 1e6
        return report["mpps"] * 1e6 > rate * BEYOND

    try:
        flags = list(flags)
        if "--gateway-mac" in flags:
            shown = subprocess.run(
                ["ip", "-n", link.srv, "-br", "link", "show", "s0"], capture_output=True, text=True, check=True
            )
            flags.append(shown.stdout.split()[2])
        generator = host.Generator(
            scratch,
            "generator",
            "af_xdp:g0",
            "--address",
            "10.203.0.254",
            "--allocations",
            ALLOCATIONS,
            "--payload",
            160,
            *flags,
            netns=link.gen,
        )
        rate = LEAST_PPS
        while try_rate(rate):
            rate = round(rate * STEP)
        best = max(tried, key=tried.get)
        for factor in FINER:
            try_rate(round(best * factor))
    finally:
        if generator:
            generator.kill()
        server.end()
    return max(tried.values())


@functools.cache
def compare(rounds):
    best = {name: [] for name in SERVERS}
    cpu = {name: [] for name in SERVERS}
    with tempfile.TemporaryDirectory() as scratch, host.Hugepages(), Link() as link:
        for _ in range(rounds):
            for name in SERVERS:
                mpps, seconds = sweep(link, scratch, name)
                best[name].append(mpps)
                cpu[name].append(seconds)

    def ratio(other):
        return spread([a / b for a, b in zip(best["turnpike af_xdp"], best[other])])

    return {
        **{name.replace(" ", "_") + "_mpps": spread(values) for name, values in best.items()},
        **{
            name.replace(" ", "_") + "_cpu_s_per_million": spread([v for v in values if v is not None])
            for name, values in cpu.items()
        },
        "ratio_to_coturn": ratio("coturn"),
        "ratio_to_testpmd": ratio("testpmd"),
    }
