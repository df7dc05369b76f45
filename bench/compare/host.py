"""The machine a comparison runs on: its name, its hugepages, its cores, and the processes started on it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TURNPIKE_BUILD", ROOT / "build"))
TURNPIKE = BUILD / "src" / "turnpike"
PKTGEN = BUILD / "bench" / "pktgen" / "turnpike-pktgen"
STREAMGEN = BUILD / "bench" / "streams" / "turnpike-streamgen"
MICRO = BUILD / "bench" / "micro"
RELAY_CORE, GENERATOR_CORE = 0, 1
HUGEPAGES = 1024  # of 2 MiB
NR_HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")


class Missing(Exception):
    """What a measurement needs and this machine doesn't have; the measurement is left out, and said to be."""


def need(program, package):
    path = shutil.which(program)
    if path is None:
        raise Missing(f"{program} is not installed: apt-get install {package}")
    return path


def build():
    if not (BUILD / "build.ninja").exists():
        subprocess.run(
            ["meson", "setup", BUILD, ROOT, "-Dtests=false", "-Dbench=true"], check=True, stdout=subprocess.DEVNULL
        )
    subprocess.run(["meson", "configure", BUILD, "-Dbench=true"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", BUILD], check=True, stdout=subprocess.DEVNULL)


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def describe():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    dpdk = output("pkg-config", "--modversion", "libdpdk")
    return {
        "processor": model[1] if model else "unknown",
        "cores": os.cpu_count(),
        "kernel": os.uname().release,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "turnpike": output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "dpdk": dpdk,
        "coturn": output("dpkg-query", "-W", "-f", "${Version}", "coturn"),
        "pinning": f"relay on core {RELAY_CORE}, generator on core {GENERATOR_CORE}, "
        "the relay's other threads on the cores that its workers leave",
    }


class Hugepages:
    """Enough of them while a comparison runs; what there was before, afterwards."""

    def __enter__(self):
        self.before = int(NR_HUGEPAGES.read_text())
        if self.before < HUGEPAGES:
            NR_HUGEPAGES.write_text(str(HUGEPAGES))
        return self

    def __exit__(self, *_):
        NR_HUGEPAGES.write_text(str(self.before))


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Process:
    """A child that can be held and let go on, and that never outlives this program."""

    def __init__(self, command, log, netns=None, **options):
        words = [str(word) for word in command]
        if netns:
            words = ["ip", "netns", "exec", netns, *words]
        self.log_path = log
        options.setdefault("stdout", open(log, "w"))
        options.setdefault("stderr", subprocess.STDOUT)
        options.setdefault("stdin", subprocess.DEVNULL)
        self.child = subprocess.Popen(words, text=True, **options)

    @property
    def pid(self):
        return self.child.pid

    def log(self):
        return Path(self.log_path).read_text(errors="replace")

    def await_log(self, words, seconds=60):
        deadline = time.monotonic() + seconds
        while words not in self.log():
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"not ready ({words}):\n{self.log()[-2000:]}")
            time.sleep(0.05)

    def hold(self):
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def end(self, seconds=20):
        if self.child.poll() is None:
            self.go_on()
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()


class Turnpike(Process):
    CONFIGURATION = """
realm = "example.org"
workers = {workers}
worker_cores = [{cores}]
{more}
{ports}
{addresses}
[auth]
users = [{{ name = "alice", password = "secret" }}]
[peers]
allow = ["10.205.0.0/16", "fd00:205::/64"]
[limits]
allocations = {allocations}
allocations_per_user = 0
requests_per_source_per_second = 0
challenges_per_source_per_second = 0
challenges_per_second = 0
{limits}
[metrics]
address = "{metrics}"
"""
    LISTENERS = ("10.203.0.1:3478", "[fd00:203::1]:3478")
    MEMIF = """
[[port]]
device = "memif:{socket}"
memif_server = true
next_hop = "02:00:00:00:00:02"
exception = "none"
"""

    def __init__(
        self,
        scratch,
        ports,
        allocations=4096,
        workers=1,
        netns=None,
        relayed=("10.203.0.1",),
        more="",
        limits="",
        number=0,
        prefix=(),
    ):
        """`number` tells relays that are up at once in one namespace from each other; `prefix` is what starts it (taskset,
        chrt)."""
        configuration = Path(scratch, f"relay-{number}.toml")
        ipv6 = any(":" in relay for relay in relayed)
        addresses = [f'[[listener]]\naddress = "{listener}"' for listener in self.LISTENERS[: 1 + ipv6]]
        addresses += [f'[[relay]]\naddress = "{relay}"' for relay in relayed]
        self.metrics_at = f"127.0.0.1:{9641 + number}"
        cores = ", ".join(str(i) for i in range(workers)) if workers > 1 else str(RELAY_CORE)
        configuration.write_text(
            self.CONFIGURATION.format(
                workers=workers,
                cores=cores,
                ports=ports,
                allocations=allocations,
                addresses="\n".join(addresses),
                more=more,
                limits=limits,
                metrics=self.metrics_at,
            )
        )
        command = [*prefix, TURNPIKE, "--config", configuration]
        super().__init__(command, Path(scratch, f"relay-{number}.log"), netns=netns)
        self.await_log(" ready")
        self.netns = netns

    def kill(self):
        super().kill()
        shutil.rmtree(f"/run/dpdk/turnpike-{self.pid}", ignore_errors=True)

    def metrics(self):
        url = f"http://{self.metrics_at}/metrics"
        if self.netns:
            text = output("ip", "netns", "exec", self.netns, "curl", "-fsS", url)
        else:
            text = urllib.request.urlopen(url, timeout=5).read().decode()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
        }

    def total(self, name):
        return sum(value for series, value in self.metrics().items() if series.split("{")[0] == f"turnpike_{name}")


class Testpmd(Process):
    """dpdk-testpmd swapping five-tuples on one core."""

    def __init__(self, scratch, device, extra=(), netns=None):
        self.prefix = f"bench-testpmd-{os.getpid()}"
        super().__init__(
            [
                need("dpdk-testpmd", "dpdk-dev"),
                "--in-memory",
                "--no-pci",
                "--lcores",
                f"0@{GENERATOR_CORE},1@{RELAY_CORE}",
                "--log-level=error",
                f"--file-prefix={self.prefix}",
                *extra,
                "--vdev",
                device,
                "--",
                "--forward-mode=5tswap",
                "--stats-period=3600",
                "--no-flush-rx",
                "--total-num-mbufs=16384",
            ],
            Path(scratch, "testpmd.log"),
            netns=netns,
        )

    def kill(self):
        super().kill()
        shutil.rmtree(f"/run/dpdk/{self.prefix}", ignore_errors=True)

    def end(self, seconds=20):
        super().end(seconds)
        self.kill()


class Commanded(Process):
    """A generator that waits for its turns: a line `go` on its stdin, a line of JSON for each."""

    def __init__(self, scratch, name, command, netns=None):
        self.answers = Path(scratch, f"{name}.json")
        super().__init__(
            command,
            self.answers,
            netns=netns,
            stdin=subprocess.PIPE,
            stderr=open(Path(scratch, f"{name}.log"), "w"),
        )
        self.read = 0

    def slice(self, seconds, rate="", timeout=120):
        """Sends for so long, at `rate` packets a second or as fast as it can: the report."""
        self.child.stdin.write(f"go {seconds} {rate}\n")
        self.child.stdin.flush()
        deadline = time.monotonic() + timeout
        while True:
            lines = self.log().splitlines()
            complete = [line for line in lines if line.startswith("{") and line.endswith("}")]
            if len(complete) > self.read:
                self.read = len(complete)
                return json.loads(complete[-1])
            if self.child.poll() is not None or time.monotonic() > deadline:
                log = Path(str(self.answers).replace(".json", ".log")).read_text()
                raise RuntimeError(f"the generator stopped:\n{log[-2000:]}")
            time.sleep(0.005)


class Generator(Commanded):
    """turnpike-pktgen, waiting for its turns."""

    def __init__(self, scratch, name, device, *flags, netns=None, light=True):
        command = [
            PKTGEN,
            "--port",
            device,
            "--core",
            GENERATOR_CORE,
            "--no-ceiling",
            "--slices",
            "0",
            "--pause",
            "--no-release",
            *(["--light"] if light else []),
            *flags,
        ]
        super().__init__(scratch, name, command, netns=netns)


class StreamGenerator(Commanded):
    """turnpike-streamgen, waiting for its turns with all clients set up."""

    def __init__(self, scratch, name, *flags, netns=None, prefix=()):
        command = [*prefix, STREAMGEN, "--core", GENERATOR_CORE, "--warm-up", 0, "--pause", *flags]
        super().__init__(scratch, name, command, netns=netns)
        self.await_log("}")
        self.read = 1
        if json.loads(self.log().splitlines()[0])["failed"]:
            raise RuntimeError(f"clients could not be set up: {self.log()}")


def run_generator(device, *flags, netns=None, timeout=600):
    """One run of turnpike-pktgen: what it printed."""
    command = [str(word) for word in [PKTGEN, "--port", device, "--core", GENERATOR_CORE, *flags]]
    if netns:
        command = ["ip", "netns", "exec", netns, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def generate(device, *flags, netns=None, timeout=600):
    """One run of turnpike-pktgen: its last report."""
    lines = [
        line
        for line in run_generator(device, *flags, netns=netns, timeout=timeout).splitlines()
        if line.startswith("{")
    ]
    if not lines:
        raise RuntimeError("turnpike-pktgen reported nothing")
    return json.loads(lines[-1])


def micros(name, cores, *flags):
    """Counters of a Google Benchmark program, by benchmark; run at once on each of `cores`, "0" or "0,1"."""
    running = [
        subprocess.Popen(
            ["taskset", "-c", core, MICRO / f"bench-{name}", "--benchmark_format=json", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for core in cores
    ]
    answers = [process.communicate()[0] for process in running]
    if any(process.returncode != 0 for process in running):
        raise RuntimeError(f"bench-{name} failed")
    return [{one["name"]: one for one in json.loads(answer)["benchmarks"]} for answer in answers]


def micro(name, *flags):
    return micros(name, [str(RELAY_CORE)], *flags)[0]


STALLS = """
import gc, os, sys, time
gc.disable()
os.sched_setaffinity(0, {int(sys.argv[1])})
end = time.perf_counter_ns() + int(float(sys.argv[2]) * 1e9)
last = began = time.perf_counter_ns()
lost = 0
while last < end:
    now = time.perf_counter_ns()
    if now - last > 20000:
        lost += now - last
    last = now
print(lost / (last - began))
"""


def stalls(core, seconds=1):
    """The share of time in which a program that does nothing but look at the clock is kept from running for more than
    20 µs at a time: by the host, or by interrupts."""
    return float(output(sys.executable, "-c", STALLS, str(core), str(seconds)))


def say(text):
    print(text, file=sys.stderr, flush=True)
