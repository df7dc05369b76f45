"""A small network: client, relay and peer hosts as network namespaces joined by veth pairs.

    client --- 10.201.1.0/24, fd20:1::/64 --- relay --- 10.201.2.0/24, fd20:2::/64 --- peer

Namespaces are named tpk-<pid>-<number>-<host>; those of a test process that was killed go at the next start.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

# Where a test's subject isn't what a port is driven by: the second is for who asks (tests/run long).
DRIVERS = ["af_xdp", pytest.param("af_packet", marks=pytest.mark.twice)]

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
BINARY = os.environ.get("TURNPIKE", str(Path(__file__).resolve().parents[2] / "build" / "src" / "turnpike"))
DRIVER = os.environ.get("TURNPIKE_DRIVER", "af_xdp")
# An emulated machine is slow, and so is a sanitizer: there, nothing that must come is given up sooner.
PATIENCE_S = int(os.environ.get("TURNPIKE_PATIENCE_S", 0))

# What sanitizers say, which needn't end the process, and src/dataplane/pool_watch.cpp.
FAULT = re.compile(r"^.*(?:Sanitizer: |: runtime error: |ERROR: pool ).*", re.M | re.S)


def run(*command, check=True, timeout=60):
    return subprocess.run(
        [str(word) for word in command],
        check=check,
        timeout=timeout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition, seconds, what):
    """Polls `condition` until it is true; fails the test, saying `what`, after `seconds`."""
    seconds = max(seconds, PATIENCE_S)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Host:
    """One namespace."""

    def __init__(self, name):
        self.name = name
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")
        self.processes = []

    def ip(self, *words, check=True):
        return run("ip", "-n", self.name, *words, check=check)

    def exec(self, *command, check=True, timeout=60):
        return run("ip", "netns", "exec", self.name, *command, check=check, timeout=timeout)

    def start(self, *command, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(["ip", "netns", "exec", self.name, *map(str, command)], **options)
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def inside(self):
        """This thread works in the namespace; sockets made here stay there."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            if LIBC.setns(there, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            LIBC.setns(here, CLONE_NEWNET)
            os.close(here)
            os.close(there)

    def udp(self, address, port=0):
        """A UDP socket bound in this namespace, with a one-second timeout."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside():
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.bind((address, port))
        sock.settimeout(1)
        return sock

    def know(self, name, address):
        """What is started from now on finds `address` by `name`."""
        folder = Path("/etc/netns") / self.name
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "hosts", "a") as hosts:
            hosts.write(f"{address} {name}\n")

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        forget_names(self.name)
        # A killed relay's note of what was reserved before, which its next start would read.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"/run/turnpike-reserved-ports-{os.stat(f'/run/netns/{self.name}').st_ino}")
        run("ip", "netns", "del", self.name, check=False)


def need_vlans():
    """Skips the test where the kernel has no VLAN interfaces."""
    host = Host(f"tpk-{os.getpid()}-vlans")
    try:
        host.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        made = host.ip("link", "add", "link", "eth0", "name", "tagged", "type", "vlan", "id", "5", check=False)
        if made.returncode != 0:
            pytest.skip("this kernel has no VLANs (module 8021q)")
    finally:
        host.close()


def forget_names(host):
    shutil.rmtree(Path("/etc/netns") / host, ignore_errors=True)
    with contextlib.suppress(OSError):  # there never were any, or there are others'
        os.rmdir("/etc/netns")


def remove_leftovers():
    """Namespaces of test processes that are gone."""
    for line in run("ip", "netns", "list").stdout.splitlines():
        match = re.match(r"(tpk-(\d+)-[\w-]+)", line)
        if match and not Path(f"/proc/{match[2]}").exists():
            run("ip", "netns", "del", match[1], check=False)
            forget_names(match[1])


class Lab:
    CLIENT4, CLIENT6 = "10.201.1.2", "fd20:1::2"
    SERVER4, SERVER6 = "10.201.1.1", "fd20:1::1"
    RELAY4, RELAY6 = "10.201.2.1", "fd20:2::1"
    PEER4, PEER6 = "10.201.2.2", "fd20:2::2"

    made = 0

    def __init__(self):
        remove_leftovers()
        Lab.made += 1
        self.number = Lab.made
        self.hosts = []
        self.relays = []
        try:
            self.client = self.add("client")
            self.relay = self.add("relay")
            self.peer = self.add("peer")
            self.connect()
        except BaseException:
            self.close()
            raise

    def connect(self):
        self.join(
            self.client,
            "eth0",
            [self.CLIENT4 + "/24", self.CLIENT6 + "/64"],
            self.relay,
            "north",
            [self.SERVER4 + "/24", self.SERVER6 + "/64"],
        )
        self.join(
            self.peer,
            "eth0",
            [self.PEER4 + "/24", self.PEER6 + "/64"],
            self.relay,
            "south",
            [self.RELAY4 + "/24", self.RELAY6 + "/64"],
        )
        for host, gateway4, gateway6 in (
            (self.client, self.SERVER4, self.SERVER6),
            (self.peer, self.RELAY4, self.RELAY6),
        ):
            host.ip("route", "add", "default", "via", gateway4)
            host.ip("-6", "route", "add", "default", "via", gateway6)

    def add(self, name):
        host = Host(f"tpk-{os.getpid()}-{self.number}-{name}")
        self.hosts.append(host)
        return host

    @staticmethod
    def join(a, a_name, a_addresses, b, b_name, b_addresses):
        run(
            "ip",
            "link",
            "add",
            a_name,
            "netns",
            a.name,
            "numrxqueues",
            "1",
            "numtxqueues",
            "1",
            "type",
            "veth",
            "peer",
            "name",
            b_name,
            "netns",
            b.name,
            "numrxqueues",
            "1",
            "numtxqueues",
            "1",
        )
        for host, name, addresses in ((a, a_name, a_addresses), (b, b_name, b_addresses)):
            for address in addresses:
                extra = ["nodad"] if ":" in address else []
                host.ip("addr", "add", address, "dev", name, *extra)
            host.ip("link", "set", name, "up")

    def start_relay(self, *flags, driver=DRIVER, ports=("north", "south"), listen=None, relays=None, expect_ready=True):
        relay = Relay(self, flags, driver, ports, listen, relays)
        self.relays.append(relay)
        if expect_ready:
            relay.wait_ready()
        return relay

    def close(self):
        for relay in self.relays:
            relay.kill()
        for host in reversed(self.hosts):
            host.close()
        faults = [relay.fault[0] for relay in self.relays if relay.fault]
        assert not faults, "\n".join(faults)


class RoutedLab(Lab):
    """The same network with a router on each side:

    client --- 10.201.3.0/24 --- north router --- relay --- south router --- 10.201.4.0/24 --- peer
    """

    CLIENT4, CLIENT6 = "10.201.3.2", "fd20:3::2"
    PEER4, PEER6 = "10.201.4.2", "fd20:4::2"

    def connect(self):
        self.routers = {}
        for end, side, near, far in ((self.client, "north", 1, 3), (self.peer, "south", 2, 4)):
            router = self.routers[end] = self.add(side)
            for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
                router.exec("sysctl", "-qw", f"{key}=1")
            self.join(
                router,
                "near",
                [f"10.201.{near}.2/24", f"fd20:{near}::2/64"],
                self.relay,
                side,
                [f"10.201.{near}.1/24", f"fd20:{near}::1/64"],
            )
            self.join(
                end,
                "eth0",
                [f"10.201.{far}.2/24", f"fd20:{far}::2/64"],
                router,
                "far",
                [f"10.201.{far}.1/24", f"fd20:{far}::1/64"],
            )
            router.ip("route", "add", "default", "via", f"10.201.{near}.1")
            router.ip("-6", "route", "add", "default", "via", f"fd20:{near}::1")
            end.ip("route", "add", "default", "via", f"10.201.{far}.1")
            end.ip("-6", "route", "add", "default", "via", f"fd20:{far}::1")
            self.relay.ip("route", "add", f"10.201.{far}.0/24", "via", f"10.201.{near}.2")
            self.relay.ip("-6", "route", "add", f"fd20:{far}::/64", "via", f"fd20:{near}::2")

    def narrow(self, end, mtu):
        """The link between `end` and its router takes `mtu` bytes of IP."""
        self.routers[end].ip("link", "set", "far", "mtu", mtu)
        end.ip("link", "set", "eth0", "mtu", mtu)


class OwnedLab(Lab):
    """The same network, but the relay owns its ports: DPDK makes them as TAP devices, whose other ends are
    the client's and the peer's eth0. Addresses of the relay are on the exception interfaces tpk0 and tpk1."""

    def connect(self):
        pass  # the devices come with the relay

    def start_relay(self, *flags, directory, workers=1, gateways=(), more_north=(), more_config=""):
        north = [f"{self.SERVER4}/24", f"{self.SERVER6}/64", *more_north]
        config = Path(directory) / "owned.toml"
        config.write_text(
            f"""
workers = {workers}
idle_sleep_us = 50
[[port]]
device = "tap:north"
addresses = {north}
[[port]]
device = "tap:south"
addresses = ["{self.RELAY4}/24", "{self.RELAY6}/64"]
gateway = {list(gateways)}
{more_config}"""
        )
        relay = super().start_relay("--config", config, *flags, ports=())
        for host, name, addresses, gateways in (
            (self.client, "north", (self.CLIENT4 + "/24", self.CLIENT6 + "/64"), (self.SERVER4, self.SERVER6)),
            (self.peer, "south", (self.PEER4 + "/24", self.PEER6 + "/64"), (self.RELAY4, self.RELAY6)),
        ):
            # The TAP's own MAC is the relay's.
            self.relay.ip("link", "set", name, "down")
            self.relay.ip("link", "set", name, "name", "eth0", "netns", host.name)
            host.ip("link", "set", "eth0", "address", "02:00:00:00:01:02", "up")
            for address in addresses:
                host.ip("addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            host.ip("route", "add", "default", "via", gateways[0])
            host.ip("-6", "route", "add", "default", "via", gateways[1])
        return relay


class Relay:
    """A running turnpike in the relay's namespace."""

    USER, PASSWORD, REALM = "alice", "secret", "example.org"

    def __init__(self, lab, flags, driver, ports, listen, relays):
        self.host = lab.relay
        self.log_path = f"/tmp/{lab.relay.name}.log"
        command = [BINARY]
        for port in ports:
            command += ["--port", port if ":" in port else f"{driver}:{port}"]
        # Empty lists: what the program takes by default.
        for address in [f"{lab.SERVER4}:3478", f"[{lab.SERVER6}]:3478"] if listen is None else listen:
            command += ["--listen", address]
        for address in [lab.RELAY4, lab.RELAY6] if relays is None else relays:
            command += ["--relay", address]
        command += [
            "--user",
            f"{self.USER}:{self.PASSWORD}",
            "--realm",
            self.REALM,
            "--allow-peer",
            "10.201.0.0/16",
            "--allow-peer",
            "fd20::/16",
            "--channel-numbers",
            "rfc5766",
        ]
        if "--user-quota" not in flags:
            command += ["--user-quota", "1000"]
        command += [*flags]
        self.command = command
        self.fault = None
        self.log = open(self.log_path, "w")
        self.process = lab.relay.start(*command, stdout=self.log, stderr=subprocess.STDOUT)

    def output(self):
        self.log.flush()
        return Path(self.log_path).read_text()

    def wait_ready(self):
        answer = None

        def ready():
            nonlocal answer
            if self.process.poll() is not None:
                raise AssertionError(f"turnpike ended with {self.process.returncode}:\n{self.output()}")
            try:
                answer = self.get("/readyz")
                return answer[0] == 200
            except OSError as error:
                answer = error
                return False

        try:
            wait_for(ready, 30, "turnpike ready")
        except AssertionError as error:
            raise AssertionError(f"{error}; /readyz: {answer}\n{self.output()}") from None

    def get(self, path):
        """(status, body) of the metrics endpoint."""
        with self.host.inside():
            sock = socket.create_connection(("127.0.0.1", 9641), timeout=2)
        with sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while chunk := sock.recv(65536):
                data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    def metrics(self):
        """Series → value: {'turnpike_x{a="b"}': 1.0}."""
        series = {}
        for line in self.get("/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                series[name] = float(value)
        return series

    def total(self, name, **labels):
        """The sum of all series called `name` whose labels include `labels`; the relay knows that name."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        named = {series: value for series, value in self.metrics().items() if series.split("{")[0] == name}
        assert named, f"no series is called {name}"
        return sum(value for series, value in named.items() if all(w in series for w in wanted))

    def stop(self, number=signal.SIGTERM, seconds=10):
        """Ends the relay; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=max(seconds, PATIENCE_S))

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(f"/run/dpdk/turnpike-{self.process.pid}", ignore_errors=True)
        if not self.log.closed:
            with contextlib.suppress(FileNotFoundError):  # an earlier relay's of this network has been the same file
                self.fault = FAULT.search(self.output())
        self.log.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.log_path)
