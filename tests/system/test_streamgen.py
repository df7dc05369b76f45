"""The generator of clients that come by streams, and its scripts, each with a relay of this build. Rates are low: what is tested is
that all comes through and is told, not how fast it is."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from certificates import make_certificate
from lab import BINARY

BUILD = Path(BINARY).resolve().parents[1]
STREAMGEN = BUILD / "bench" / "streams" / "turnpike-streamgen"
SCRIPTS = Path(__file__).resolve().parents[2] / "bench" / "streams" / "scripts"

pytestmark = pytest.mark.skipif(
    not STREAMGEN.exists(), reason=f"no generator at {STREAMGEN}: configure the build with -Dbench=true"
)
PORTS = {"tcp": 3478, "tls": 5349}


@pytest.fixture(scope="module")
def relay(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("streamgen")
    chain, key = make_certificate(folder, "turn.example.org")
    config = folder / "relay.toml"
    config.write_text(
        "".join(
            f'[[listener]]\naddress = "{address}:{port}"\ntransport = "{transport}"\n'
            for address in (lab.SERVER4, f"[{lab.SERVER6}]")
            for transport, port in PORTS.items()
        )
        + f'[[certificate]]\nchain = "{chain}"\nkey = "{key}"\n[limits]\nallocations_per_user = 0\n'
        + "requests_per_source_per_second = 0\nchallenges_per_source_per_second = 0\n"
    )
    relay = lab.start_relay("--config", config, listen=[])
    yield relay
    assert relay.stop() == 0, relay.output()


def generate(lab, transport, *flags, server=None, status=0):
    """All lines of JSON."""
    address = f"[{lab.SERVER6}]" if server == 6 else lab.SERVER4
    done = lab.client.exec(
        STREAMGEN,
        *("--transport", transport, "--server", f"{address}:{PORTS[transport]}", *map(str, flags)),
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stdout
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("server", [4, 6])
@pytest.mark.parametrize("transport", PORTS)
def test_media_both_ways_lose_nothing(lab, relay, transport, server):
    told = generate(lab, transport, "--clients", 20, "--rate", 2000, "--seconds", 1, "--payload", 161, server=server)
    assert told[0]["served"] == 20 and told[0]["failed"] == 0
    for direction in ("up", "down"):
        tally = told[1][direction]
        assert tally["delivered"] >= 900, told
        assert not tally["lost"] and not tally["corrupted"] and not tally["wrong_receiver"], told


def test_one_direction_and_several_threads(lab, relay):
    told = generate(lab, "tcp", "--clients", 10, "--threads", 2, "--rate", 1000, "--seconds", 1, "--direction", "down")
    assert told[1]["up"]["sent"] == 0 and told[1]["down"]["delivered"] >= 900 and told[1]["lost"] == 0


@pytest.mark.parametrize("until", ["handshake", "binding", "allocation"])
def test_a_storm_goes_as_far_as_it_is_told_and_resumes(lab, relay, until):
    flags = ("--mode", "storm", "--clients", 8, "--rate", 100, "--seconds", 2, "--until", until)
    full = generate(lab, "tls", *flags)[-1]
    assert full["served"] > 10 and full["resumed"] == 0 and full["failed"] == 0, full
    resumed = generate(lab, "tls", *flags, "--resume")[-1]
    assert resumed["resumed"] > resumed["served"] / 2, resumed


def test_wrong_credentials_are_told(lab, relay):
    told = generate(lab, "tcp", "--clients", 2, "--password", "wrong", status=1)
    assert told[0]["served"] == 0 and told[0]["errors"] == {"401": 2}


def test_a_wrong_flag_says_what_to_type(lab):
    done = subprocess.run([STREAMGEN, "--payload", "7"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--payload: expected 24 to 1400, found 7" in done.stderr


@pytest.mark.parametrize("transport", PORTS)
@pytest.mark.parametrize(
    "script, answer",
    [
        ("connect-storm", r"answer: \d+ clients a second by {}, 0 failed"),
        ("media-over-streams", r"answer: \d+ messages a second by {}"),
        ("reconnect-after-restart", r"answer: 50 clients are back"),
    ],
)
def test_scripts_answer(script, answer, transport):
    flags = {"CLIENTS": "50", "SECONDS_EACH": "1", "PATIENCE": "60", "TURNPIKE_BUILD": str(BUILD)}
    done = subprocess.run(
        [SCRIPTS / script, transport],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env={**os.environ, **flags},
    )
    assert done.returncode == 0 and re.search(answer.format(transport), done.stdout), done.stdout + done.stderr
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert "streams-" not in left
