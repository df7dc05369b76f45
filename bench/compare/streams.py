"""Clients that come by TCP, TLS and DTLS: Turnpike beside coturn, nginx's stream module and openssl s_server, each behind a
veth of its own, with the same generator of kernel sockets at the other end.

A server has one core, all of its threads: Turnpike's worker sleeps there when it finds nothing, so that it leaves the core to the
thread that reads and writes streams. The generator has the other. All run at a real-time priority where that can be had, so that
who else uses the machine takes nothing from one of them alone. Servers are up at once and run one at a time, in short turns."""

import contextlib
import functools
import json
import subprocess
import tempfile
import time
from pathlib import Path

from . import host, veth
from .stats import spread

LEAST_PPS, STEP, BEYOND = 20_000, 1.4, 0.8
AROUND = (0.85, 1, 1.2)
SLICE_S, WARM_UP_S = 0.4, 0.15
CLIENTS = 100
PEERS = "10.205.0.1"
ADDRESS, PLAIN, SECURE, RAW = "10.203.0.1", 3478, 5349, 5000
DIRECTIONS = ("up", "down")
# A worker with nothing to do sleeps so long: less than it takes for what may wait for it to fill a ring.
SLEEP_US = 200


@functools.cache
def real_time():
    """chrt, where it is allowed."""
    done = subprocess.run(["chrt", "-f", "1", "true"], capture_output=True, check=False)
    return ("chrt", "-f", "1") if done.returncode == 0 else ()


def one_core():
    return ("taskset", "-c", str(host.RELAY_CORE), *real_time())


@functools.cache
def certificate():
    """(certificate, key) for a name: P-256, as most have it."""
    folder = tempfile.mkdtemp(prefix="turnpike-bench-")
    chain, key = f"{folder}/cert.pem", f"{folder}/key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ]
        + ["-subj", "/CN=turn.example.org", "-keyout", key, "-out", chain],
        check=True,
        capture_output=True,
    )
    return chain, key


class Link(veth.Link):
    """The same, with the generator's addresses in the kernel: g0 has 10.203.0.254 and the peers' 10.205.0.1."""

    def __enter__(self):
        super().__enter__()
        for address in ("10.203.0.254/24", f"{PEERS}/32"):
            subprocess.run(["ip", "-n", self.gen, "addr", "add", address, "dev", "g0"], check=True)
        return self


def start_turnpike(scratch, link, transport, sleep_us=SLEEP_US, driver="af_xdp"):
    chain, key = certificate()
    port = PLAIN if transport == "tcp" else SECURE
    more = f'[[port]]\ndevice = "{driver}:s0"\n[[listener]]\naddress = "{ADDRESS}:{port}"\ntransport = "{transport}"\n'
    if transport != "tcp":
        more += f'[[certificate]]\nchain = "{chain}"\nkey = "{key}"\n'
    more += "[streams]\nconnections = 20000\nconnections_per_source = 0\n"
    return host.Turnpike(
        scratch,
        more,
        allocations=20000,
        netns=link.srv,
        more=f"idle_sleep_us = {sleep_us}\nhugepages = false",
        prefix=one_core(),
    )


def start_coturn(scratch, link, _transport):
    chain, key = certificate()
    words = ["-n", "-L", ADDRESS, "-E", ADDRESS, "--lt-cred-mech", "-u", "alice:secret", "-r", "example.org", "-m", "1"]
    words += ["--no-cli", "--cert", chain, "--pkey", key, "--log-file", "stdout", "--pidfile", f"{scratch}/coturn.pid"]
    program = host.need("turnserver", "coturn")
    command = [*one_core(), program, *words, "--db", f"{scratch}/coturn.db"]
    process = host.Process(command, Path(scratch, "coturn.log"), netns=link.srv)
    time.sleep(2)
    return process


def start_nginx(scratch, link, _transport):
    """Its stream module ends TLS and passes the bytes on by TCP."""
    chain, key = certificate()
    configuration = Path(scratch, "nginx.conf")
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    if not Path(module).exists():
        raise host.Missing("nginx has no stream module: apt-get install libnginx-mod-stream")
    configuration.write_text(
        f"load_module {module};\nuser root;\nworker_processes 1;\ndaemon off;\nmaster_process off;\n"
        f"error_log {scratch}/error.log;\npid {scratch}/nginx.pid;\nevents {{ worker_connections 4096; }}\n"
        f"stream {{ server {{ listen {ADDRESS}:{SECURE} ssl; ssl_certificate {chain}; ssl_certificate_key {key};\n"
        f"ssl_protocols TLSv1.2 TLSv1.3; tcp_nodelay on; proxy_pass {PEERS}:{RAW}; }} }}\n"
    )
    command = [*one_core(), host.need("nginx", "nginx-light libnginx-mod-stream"), "-c", configuration, "-p", scratch]
    process = host.Process(command, Path(scratch, "nginx.log"), netns=link.srv)
    time.sleep(1)
    return process


class Side(veth.Side):
    """A server and a generator with all its clients, on a link of their own."""

    def __init__(self, stack, scratch, number, start, transport, direction, *flags):
        folder = Path(scratch, str(number))
        folder.mkdir()
        link = stack.enter_context(Link(number))
        self.direction = direction
        self.server = start(folder, link, transport)
        stack.callback(self.server.end)
        port = PLAIN if transport == "tcp" else SECURE
        self.generator = host.StreamGenerator(
            folder,
            "generator",
            *("--transport", transport, "--server", f"{ADDRESS}:{port}", "--clients", CLIENTS, "--peers", PEERS),
            *("--direction", direction, *flags),
            netns=link.gen,
            prefix=real_time(),
        )
        stack.callback(self.generator.kill)
        self.rate, self.idle = LEAST_PPS, 1
        self.sweep(LEAST_PPS, STEP, BEYOND)
        self.server.hold()

    def deliver(self, rate):
        self.generator.slice(WARM_UP_S, rate)
        began = host.cpu_seconds(self.server.pid)
        report = self.generator.slice(SLICE_S, rate)
        spent = host.cpu_seconds(self.server.pid) - began
        told = report[self.direction]
        if told["corrupted"] or told["wrong_receiver"]:
            raise RuntimeError(f"messages corrupted or misdelivered: {report}")
        self.idle = report["generator_idle"]
        return report["mpps"], spent / max(1, told["delivered"]) * 1e6


def compare(pairs, sides):
    """`sides`: {name: (start, transport, direction, flags…)}, the first over the second."""
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        running = {name: Side(stack, scratch, number, *side) for number, (name, side) in enumerate(sides.items())}
        names = list(running)
        taken = {name: [] for name in names}
        for i in range(pairs):
            for name in names if i % 2 == 0 else names[::-1]:
                taken[name].append(running[name].turn())
        idle = {name: running[name].idle for name in names}
    one, other = names
    return {
        "ratio": spread(veth.ratios(taken, one, other)),
        **{f"{name}_mpps": spread([mpps for mpps, _ in of]) for name, of in taken.items()},
        **{f"{name}_cpu_s_per_million": spread([cpu for _, cpu in of]) for name, of in taken.items()},
        **{f"{name}_generator_idle": round(share, 2) for name, share in idle.items()},
    }


@functools.cache
def over_coturn(pairs, transport):
    """The worse direction's ratio, and both."""
    details = {
        direction: compare(
            pairs,
            {
                "turnpike": (start_turnpike, transport, direction, "--payload", 160),
                "coturn": (start_coturn, transport, direction, "--payload", 160),
            },
        )
        for direction in DIRECTIONS
    }
    return min(each["ratio"]["median"] for each in details.values()), details


@functools.cache
def over_nginx(pairs):
    size = 1200
    details = {}
    for direction in DIRECTIONS:
        details[direction] = one = compare(
            pairs,
            {
                "turnpike": (start_turnpike, "tls", direction, "--payload", size),
                "nginx": (start_nginx, "tls", direction, "--payload", size, "--raw", f"{PEERS}:{RAW}"),
            },
        )
        for name in ("turnpike", "nginx"):
            one[f"{name}_gbit_per_s"] = round(one[f"{name}_mpps"]["median"] * size * 8 / 1000, 2)
    speed = host.output(
        *("taskset", "-c", str(host.RELAY_CORE), "openssl", "speed", "-seconds", "2", "-evp", "aes-128-gcm"),
        *("-bytes", str(size), "-mr"),
    )
    bytes_per_s = [float(line.split(":")[-1]) for line in speed.splitlines() if line.startswith("+F:")]
    details["openssl_speed_gbit_per_s"] = round(bytes_per_s[-1] * 8 / 1e9, 2) if bytes_per_s else None
    return min(details[direction]["ratio"]["median"] for direction in DIRECTIONS), details


def start_s_server(scratch, link, _transport):
    chain, key = certificate()
    words = ["-accept", f"{ADDRESS}:{SECURE}", "-cert", chain, "-key", key, "-quiet", "-num_tickets", 1]
    # It ends at the end of its input.
    command = [*one_core(), "openssl", "s_server", *words]
    process = host.Process(command, Path(scratch, "s_server.log"), netns=link.srv, stdin=subprocess.PIPE)
    time.sleep(0.5)
    return process


def storm(link, seconds, *flags):
    words = [*real_time(), host.STREAMGEN, "--core", host.GENERATOR_CORE, "--mode", "storm", "--seconds", seconds]
    words += ["--server", f"{ADDRESS}:{SECURE}", "--transport", "tls", *flags]
    command = ["ip", "netns", "exec", link.gen, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the generator ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@functools.cache
def handshakes(rounds):
    """Handshakes a CPU second of each server's process, in turns; full ones and resumed ones."""
    servers = {"turnpike": functools.partial(start_turnpike, sleep_us=1000), "s_server": start_s_server}
    details = {}
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        running = {}
        for number, (name, start) in enumerate(servers.items()):
            folder = Path(scratch, str(number))
            folder.mkdir()
            link = stack.enter_context(Link(number))
            server = start(folder, link, "tls")
            stack.callback(server.end)
            server.hold()
            running[name] = (link, server)
        for kind, flags in (("full", ()), ("resumed", ("--resume",))):
            rates = {name: [] for name in running}
            for i in range(2 * rounds):
                for name in list(running) if i % 2 == 0 else list(running)[::-1]:
                    link, server = running[name]
                    server.go_on()
                    # s_server has one connection at a time.
                    began = host.cpu_seconds(server.pid)
                    report = storm(link, 1, "--until", "handshake", "--clients", 8, "--window", 8, "--rate", 0, *flags)
                    spent = host.cpu_seconds(server.pid) - began
                    server.hold()
                    if flags and report["resumed"] < report["handshakes"] - 8:
                        raise RuntimeError(f"sessions of {name} are not resumed: {report}")
                    rates[name].append(report["handshakes"] / spent)
            details[kind] = {
                "ratio": spread([a / b for a, b in zip(rates["turnpike"], rates["s_server"])]),
                **{f"{name}_per_cpu_s": spread(of) for name, of in rates.items()},
            }
    return min(each["ratio"]["median"] for each in details.values()), details


def resident(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Rss:"))


@functools.cache
def kib_per_idle(transport="tls"):
    """Resident KiB of a connection with an allocation that says nothing: 10,000 of them less 1,000."""
    used = {}
    few, many = 1000, 10000
    for count in (few, many):
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            link = stack.enter_context(Link())
            server = start_turnpike(scratch, link, transport)
            stack.callback(server.end)
            flags = ["--mode", "idle", "--transport", transport, "--server", f"{ADDRESS}:{SECURE}", "--peers", PEERS]
            generator = host.Process(
                [
                    *real_time(),
                    host.STREAMGEN,
                    "--core",
                    host.GENERATOR_CORE,
                    *flags,
                    "--clients",
                    count,
                    "--seconds",
                    300,
                ],
                Path(scratch, "generator.log"),
                netns=link.gen,
            )
            stack.callback(generator.kill)
            generator.await_log("}", 240)
            time.sleep(1)
            if server.total("channels") != count:
                raise RuntimeError(f"{server.total('channels')} channels instead of {count}")
            used[count] = resident(server.pid)
    each = (used[many] - used[few]) / (many - few) / 1024
    return round(each, 1), {"bytes_at_1000": used[few], "bytes_at_10000": used[many]}
