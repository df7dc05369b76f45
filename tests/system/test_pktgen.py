"""The load generator over memif, with a relay of this build at the other end, and looped to itself with faults planted.

Both sides use ordinary memory, so no hugepages are needed. Rates are low: what is tested is that nothing is lost, mixed
up or damaged, not how fast it is.
"""

import contextlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest

from lab import BINARY, wait_for

PKTGEN = os.environ.get(
    "TURNPIKE_PKTGEN", str(Path(BINARY).resolve().parents[2] / "bench" / "pktgen" / "turnpike-pktgen")
)

SCRIPTS = Path(__file__).resolve().parents[2] / "bench" / "pktgen" / "scripts"

CONFIGURATION = """
realm = "example.org"
hugepages = false
idle_sleep_us = 50
[[port]]
device = "memif:{socket}"
memif_server = true
next_hop = "02:00:00:00:00:02"
exception = "none"
[[listener]]
address = "10.203.0.1:3478"
[[listener]]
address = "[fd00:203::1]:3478"
[[relay]]
address = "10.203.0.1"
[[relay]]
address = "fd00:203::1"
[auth]
users = [{{ name = "alice", password = "secret" }}]
nonce_lifetime_s = {nonce_lifetime_s}
[peers]
allow = ["10.205.0.0/16", "fd00:205::/64"]
[limits]
allocations = 12000
allocations_per_user = 0
requests_per_source_per_second = 0
challenges_per_source_per_second = 0
challenges_per_second = 0
[metrics]
enabled = false
[test]
time_scale = {time_scale}
"""


@contextlib.contextmanager
def relay_ready(time_scale=1, nonce_lifetime_s=3600):
    """The socket of a relay that is ready."""
    if not Path(PKTGEN).exists():
        pytest.skip(f"no load generator at {PKTGEN}: configure the build with -Dbench=true")
    with tempfile.TemporaryDirectory() as scratch:
        socket = f"{scratch}/memif.sock"
        configuration = Path(scratch, "relay.toml")
        configuration.write_text(
            CONFIGURATION.format(socket=socket, time_scale=time_scale, nonce_lifetime_s=nonce_lifetime_s)
        )
        log = Path(scratch, "relay.log")
        with open(log, "w") as output:
            relay = subprocess.Popen(
                [BINARY, "--config", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:

            def ready():
                assert relay.poll() is None, log.read_text()
                return " ready\n" in log.read_text()

            wait_for(ready, 20, "turnpike ready")
            yield socket
            assert relay.poll() is None, log.read_text()
        finally:
            if relay.poll() is None:
                relay.terminate()
            relay.wait(timeout=20)


@pytest.fixture
def link():
    with relay_ready() as socket:
        yield socket


def generate(*flags, status=0, timeout=90):
    """Runs the generator; returns its last line of JSON and what it said."""
    result = subprocess.run(
        [PKTGEN, "--no-hugepages", *map(str, flags)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
    )
    assert result.returncode == status, result.stderr
    lines = result.stdout.splitlines()
    return (json.loads(lines[-1]) if lines else None), result.stderr


def assert_all_arrived(report, at_least):
    for direction in ("up", "down"):
        tally = report[direction]
        assert tally["delivered"] >= at_least / 2, report
        wrong = {name: tally[name] for name in ("lost", "duplicated", "corrupted", "wrong_receiver") if tally[name]}
        assert not wrong, report
    assert report["foreign"] == 0, report


def test_ten_thousand_allocations_of_both_families_lose_nothing(link):
    report, _ = generate(
        "--port",
        f"memif:{link}",
        "--no-ceiling",
        "--family",
        "both",
        "--peer-family",
        "both",
        "--allocations",
        10000,
        "--rate",
        10000,
        "--seconds",
        2,
    )
    assert_all_arrived(report, at_least=18000)


def test_indications_of_mixed_sizes_lose_nothing(link):
    report, _ = generate(
        "--port",
        f"memif:{link}",
        "--no-ceiling",
        "--family",
        "both",
        "--indications",
        "--payload",
        "imix",
        "--allocations",
        100,
        "--rate",
        5000,
        "--seconds",
        1,
    )
    assert_all_arrived(report, at_least=4500)


def test_light_mode_checks_samples(link):
    report, _ = generate(
        "--port", f"memif:{link}", "--no-ceiling", "--light", "--allocations", 100, "--rate", 20000, "--seconds", 1
    )
    assert report["delivered"] == report["sent"] >= 18000, report
    assert report["checked"] >= report["delivered"] / 64, report
    assert report["corrupted"] == report["wrong_receiver"] == report["foreign"] == 0, report


def test_refreshes_keep_media_flowing_beyond_every_lifetime():
    # A permission is gone after 2.5 s, an allocation and a channel after 5, a nonce after 2.
    with relay_ready(time_scale=120, nonce_lifetime_s=240) as link:
        flags = [
            "--port",
            f"memif:{link}",
            "--no-ceiling",
            "--allocations",
            50,
            "--lifetime",
            600,
            "--rate",
            2000,
            "--seconds",
            7,
        ]
        report, _ = generate(*flags, "--refresh", 1)
        assert_all_arrived(report, at_least=12600)
        report, _ = generate(*flags, "--refresh", 1000)
        assert report["lost"] > 2000, report


def test_slices_run_when_told_and_keep_their_allocations(link):
    result = subprocess.run(
        [
            PKTGEN,
            "--no-hugepages",
            "--port",
            f"memif:{link}",
            "--no-ceiling",
            "--slices",
            "0",
            "--pause",
            "--warm-up",
            "0",
            "--slice-seconds",
            "0.1",
            "--rate",
            "10000",
            "--allocations",
            "20",
        ],
        input="go\ngo 0.2\ngo 0.2 50000\nquit\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    slices = [json.loads(line) for line in result.stdout.splitlines()]
    assert [round(one["seconds"], 1) for one in slices] == [0.1, 0.2, 0.2], result.stdout
    assert slices[2]["sent"] > 3 * slices[1]["sent"], result.stdout
    assert all(one["lost"] == 0 for one in slices), result.stdout


def test_a_second_run_takes_over_what_the_first_left_behind(link):
    for _ in range(2):
        report, _ = generate(
            "--port",
            f"memif:{link}",
            "--no-ceiling",
            "--no-release",
            "--allocations",
            50,
            "--rate",
            2000,
            "--seconds",
            0.5,
        )
        assert_all_arrived(report, at_least=900)


@pytest.mark.parametrize("attack", ["users", "fragments", "all"])
def test_media_goes_on_beside_an_attack(link, attack):
    report, _ = generate(
        "--port",
        f"memif:{link}",
        "--no-ceiling",
        "--allocations",
        50,
        "--rate",
        2000,
        "--attack",
        attack,
        "--attack-rate",
        2000,
        "--seconds",
        1,
    )
    assert report["attack_sent"] > 1000, report
    assert (report["attack_answers"] > 16) == (attack != "fragments"), report
    assert_all_arrived(report, at_least=1800)


def test_wrong_credentials_are_explained(link):
    _, said = generate(
        "--port", f"memif:{link}", "--no-ceiling", "--allocations", 5, "--password", "wrong", "--seconds", 0.1, status=1
    )
    assert "check --user and --password" in said


def test_flows_are_written_for_other_generators(link, tmp_path):
    path = tmp_path / "flows.jsonl"
    generate("--port", f"memif:{link}", "--allocations", 7, "--setup-only", path)
    head, *flows = [json.loads(line) for line in path.read_text().splitlines()]
    assert head["server_mac"] == "02:00:00:00:00:01"
    assert len(flows) == 7
    for flow in flows:
        assert flow["client_head"].endswith("400000a0") and flow["relayed_port"] >= 49152, flow
        assert flow["client_size"] == len(flow["client_head"]) / 2 + 160
        assert flow["peer_size"] == len(flow["peer_head"]) / 2 + 160

    # Both kinds of script make the same frames of it.
    frames = {"clients": [], "peers": []}
    for flow in flows:
        for side, name in (("clients", "client"), ("peers", "peer")):
            frames[side].append(bytes.fromhex(flow[f"{name}_head"]).ljust(flow[f"{name}_size"], b"\0"))
    profile = load_trex_profile()
    for direction, side in enumerate(("clients", "peers")):
        streams = profile.get_streams(direction=direction, tunables=["--flows", str(path), "--pps", "700"])
        assert [stream["packet"] for stream in streams] == frames[side]
        assert sum(stream["mode"] for stream in streams) == pytest.approx(700)

    lua = shutil.which("lua5.4") or shutil.which("lua5.3")
    if lua:
        subprocess.run([lua, SCRIPTS / "pktgen-dpdk.lua", path, tmp_path / "clients", tmp_path / "peers"], check=True)
        for side, expected in frames.items():
            assert read_pcap((tmp_path / side).read_bytes()) == expected


def load_trex_profile():
    """TRex's own library stands on the rack; here is as much of it as the profile uses."""
    library = types.ModuleType("trex_stl_lib.api")
    library.STLPktBuilder = lambda pkt_buffer: pkt_buffer
    library.STLTXCont = lambda pps: pps
    library.STLStream = lambda packet, mode: {"packet": packet, "mode": mode}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "trex_stl_lib", types.ModuleType("trex_stl_lib"))
        patch.setitem(sys.modules, "trex_stl_lib.api", library)
        return runpy.run_path(str(SCRIPTS / "trex_turn.py"))["register"]()


def read_pcap(data):
    frames, at = [], 24
    while at < len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        frames.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return frames


def test_planted_faults_are_found():
    """Would it notice? Frames are dropped, damaged, doubled, held back and sent astray on the way to itself."""
    if not Path(PKTGEN).exists():
        pytest.skip(f"no load generator at {PKTGEN}: configure the build with -Dbench=true")
    _, said = generate("--self-check", "--allocations", 8)
    assert "self-check passed" in said


def test_a_wrong_flag_says_what_to_type():
    if not Path(PKTGEN).exists():
        pytest.skip(f"no load generator at {PKTGEN}: configure the build with -Dbench=true")
    _, said = generate("--payload", "7", status=2)
    assert "--payload: expected sizes from 20 to 1400, found 7" in said
