"""turnpike-natcheck names each NAT through coturn with two addresses, says what a server can't tell, and checks TURN."""

import contextlib
import json
import os
import pty
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from certificates import authority, make_certificate
from fake_stun import CHANGE_REQUEST, FakeStun
from lab import BINARY, wait_for
from nat_lab import BEHAVIOUR, KINDS, NatLab, prove

NATCHECK = os.environ.get("TURNPIKE_NATCHECK", str(Path(BINARY).resolve().parent / "natcheck" / "turnpike-natcheck"))
NAMES = {
    "none": "open",
    "firewall": "symmetric firewall",
    "full-cone": "full cone",
    "address": "address-restricted cone",
    "port": "port-restricted cone",
    "symmetric": "symmetric",
}
FINE, RELAY_NEEDED, USAGE, NOT_REACHED, CANNOT_TELL, TURN_FAILS = range(6)
PASSWORD = "correct-horse"
LIFETIME_S = 10

pytestmark = pytest.mark.skipif(not Path(NATCHECK).exists(), reason=f"no program at {NATCHECK}")


class Nats(NatLab):
    """A site of each kind, and coturn: two addresses at 3478, one alone at 4478, REST secrets at 5478."""

    def __init__(self, folder):
        super().__init__()
        self.ca, _ = authority(folder)
        chain, key = make_certificate(folder, *self.SERVER4, *self.SERVER6)
        tls = ("--cert", chain, "--pkey", key)
        both = [word for address in (*self.SERVER4, *self.SERVER6) for word in ("-L", address)]
        self.coturn(folder, 3478, *both, *tls, "--tls-listening-port", 5349, "--user", f"alice:{PASSWORD}")
        self.coturn(folder, 4478, "-L", self.SERVER4[0], "--user", f"alice:{PASSWORD}")
        self.coturn(folder, 5478, "-L", self.SERVER4[0], "--use-auth-secret", "--static-auth-secret", PASSWORD)
        for kind in KINDS:
            self.add_site(kind, lifetime_s=LIFETIME_S)

    def coturn(self, folder, port, *flags):
        log = folder / f"turnserver-{port}.log"
        self.server.start(
            *("turnserver", "-n", "-p", port, "--lt-cred-mech", "--realm", "example.org", "--no-cli"),
            *("--pidfile", folder / f"turnserver-{port}.pid", "--log-file", log, "--simple-log"),
            *("--userdb", folder / f"turnserver-{port}.db", *flags),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with self.server.udp(self.SERVER4[0]) as sock:
            sock.settimeout(0.2)
            request = bytes.fromhex("000100002112a442") + bytes(12)

            def answers():
                try:
                    sock.sendto(request, (self.SERVER4[0], port))
                    return sock.recv(2000)
                except OSError:
                    return None

            wait_for(answers, 20, f"coturn at {port}")

    def site(self, kind):
        return next(site for site in self.sites if site.kind == kind)


@pytest.fixture(scope="module")
def nats(tmp_path_factory):
    lab = Nats(tmp_path_factory.mktemp("coturn"))
    yield lab
    lab.close()


def begin(site, *words, **options):
    """It needs no privileges, and so has none."""
    drop = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return site.client.start(*drop, NATCHECK, *words, **options)


def end(process, seconds=60):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def check(site, *words, seconds=60, **options):
    """(exit status, the report as a program has it)."""
    status, out, err = end(begin(site, *words, "--json", **options), seconds)
    assert out, err
    report = json.loads(out)
    assert report["exit_status"] == status
    return status, report


def only_path(report):
    assert len(report["paths"]) == 1, report["paths"]
    return report["paths"][0]


@pytest.mark.parametrize("kind", KINDS)
def test_each_nat_is_named(nats, kind):
    site = nats.site(kind)
    prove(nats, site)
    status, report = check(site, nats.SERVER4[0])
    path = only_path(report)
    nat = path["nat"]
    mapping, filtering = BEHAVIOUR[kind]
    assert nat["name"] == NAMES[kind]
    assert nat["translated"] == site.translates
    assert nat["mapping"] == (mapping or "endpoint-independent")
    assert nat["filtering"] == filtering
    assert status == (RELAY_NEEDED if kind == "symmetric" else FINE)
    assert path["relay"] == {"symmetric": "mostly", "full-cone": "seldom", "none": "seldom"}.get(kind, "sometimes")
    assert path["udp"]["mapped"].startswith(site.public4 + ":")
    assert path["interface"] == "eth0" and path["local"] == site.client4
    if site.translates:
        assert nat["port_preservation"] == (kind != "symmetric")
        assert nat["one_public_address"] is True and nat["hairpinning"] is False
    assert nat["fragments_out"] is True and nat["fragments_in"] is True
    assert path["unknown"] == []
    # Tests that may be silent are few, and 2 s each; the rest is other people's load.
    assert report["seconds"] < 20


def test_lifetime_is_found_within_a_tenth(nats):
    kinds = [kind for kind in KINDS if kind != "none"]
    running = {kind: begin(nats.site(kind), nats.SERVER4[0], "--lifetime", 60, "--json") for kind in kinds}
    for kind, process in running.items():
        _, out, _ = end(process, 100)
        lifetime = json.loads(out)["paths"][0]["nat"]["lifetime"]
        assert lifetime["at_least"] <= LIFETIME_S * 1.05 and lifetime["less_than"] >= LIFETIME_S * 0.95, kind
        assert abs(lifetime["seconds"] - LIFETIME_S) <= LIFETIME_S / 10, (kind, lifetime)


def test_lifetime_is_looked_for_no_longer_than_was_said(nats):
    _, report = check(nats.site("port"), nats.SERVER4[0], "--lifetime", 4)
    lifetime = only_path(report)["nat"]["lifetime"]
    assert lifetime["less_than"] is None and lifetime["seconds"] is None
    assert 3.9 < lifetime["at_least"] < 6


def test_ipv6_firewall_is_named(nats):
    status, report = check(nats.site("full-cone"), nats.SERVER6[0])
    path = only_path(report)
    assert status == FINE
    assert path["nat"]["name"] == NAMES["firewall"] and path["local"] == nats.site("full-cone").client6


def test_hairpin_lost_fragments_and_blocked_udp_are_told(nats):
    site = nats.add_site("full-cone", hairpin=True, drop_fragments=True)
    _, report = check(site, nats.SERVER4[0])
    path = only_path(report)
    assert path["nat"]["hairpinning"] is True and path["nat"]["hairpins_with_public_source"] is True
    assert path["nat"]["fragments_out"] is None and path["nat"]["fragments_in"] is None
    assert any("fragments" in doubt for doubt in path["unknown"])

    site.filter(block_udp=True)
    login = ("--user", "alice", "--password", PASSWORD, "--ca", nats.ca)
    status, report = check(site, nats.SERVER4[0], *login)
    path = only_path(report)
    assert status == RELAY_NEEDED
    assert path["nat"]["name"] == "UDP blocked" and path["relay"] == "always"
    assert path["udp"]["outcome"] == "silent" and path["tcp"]["answered"] and path["tls"]["answered"]
    assert {one["transport"]: one["works"] for one in path["turn"]} == {"udp": False, "tcp": True, "tls": True}


def test_turn_is_checked_by_each_transport(nats):
    login = ("--user", "alice", "--password", PASSWORD, "--ca", nats.ca)
    for address in (nats.SERVER4[0], nats.SERVER6[0]):
        status, report = check(nats.site("symmetric"), address, *login)
        assert status in (FINE, RELAY_NEEDED)
        path = only_path(report)
        assert [one["transport"] for one in path["turn"]] == ["udp", "tcp", "tls"]
        for one in path["turn"]:
            steps = ("works", "connected", "allocated", "permission", "echo", "channel", "channel_echo")
            assert all(one[step] for step in steps), one
            assert one["relayed"].startswith((nats.SERVER4[0], nats.SERVER4[1], "[2001:db8:f::"))
        assert path["tls"]["trusted"] is True and path["tls"]["version"].startswith("TLSv1.")


def test_rest_secret_and_password_come_from_file_and_environment(nats, tmp_path):
    site, server = nats.site("port"), nats.SERVER4[0]
    file = tmp_path / "secret"
    file.write_text(PASSWORD + "\n")
    status, report = check(site, f"{server}:5478", "--secret-file", file, "--turn", "udp,tcp")
    assert [one["works"] for one in only_path(report)["turn"]] == [True, True]
    assert status == CANNOT_TELL  # that one has one address
    environment = {**os.environ, "TURNPIKE_NATCHECK_PASSWORD": PASSWORD}
    status, report = check(site, server, "--user", "alice", "--turn", "tcp", env=environment)
    assert status == FINE and only_path(report)["turn"][0]["works"]


def test_wrong_password_is_told_and_no_password_ever(nats, tmp_path):
    site, server = nats.site("port"), nats.SERVER4[0]
    words = (server, "--user", "alice", "--password", "wrong-" + PASSWORD, "--turn", "udp,tcp")
    status, report = check(site, *words)
    assert status == TURN_FAILS
    for one in only_path(report)["turn"]:
        assert "401" in one["error"] and "password" in one["advice"]
    process = begin(site, *words)
    listed = Path(f"/proc/{process.pid}/cmdline")
    wait_for(lambda: b"****" in listed.read_bytes(), 10, "the password hidden")
    assert PASSWORD.encode() not in listed.read_bytes()
    _, out, err = end(process)
    assert PASSWORD not in out + err


def test_certificate_that_is_not_trusted_is_told(nats):
    status, report = check(
        nats.site("port"), nats.SERVER4[0], "--user", "alice", "--password", PASSWORD, "--turn", "tls"
    )
    path = only_path(report)
    assert status == TURN_FAILS
    assert path["tls"]["answered"] and path["tls"]["trusted"] is False
    assert "certificate" in path["turn"][0]["error"] and path["turn"][0]["channel_echo"]
    _, report = check(nats.site("port"), nats.SERVER4[0], "--ca", nats.ca, "--tls-name", "turn.example.org")
    assert "mismatch" in only_path(report)["tls"]["distrust"]


def test_one_address_can_not_tell_and_nothing_is_guessed(nats):
    status, report = check(nats.site("full-cone"), f"{nats.SERVER4[0]}:4478")
    path = only_path(report)
    assert status == CANNOT_TELL
    assert path["nat"]["translated"] is True
    assert [path["nat"][key] for key in ("name", "mapping", "filtering")] == [None] * 3 and path["relay"] is None
    assert any("OTHER-ADDRESS" in doubt for doubt in path["unknown"])


@pytest.mark.parametrize(
    "half, said",
    [
        ({}, "doesn't change"),
        ({"refuses": (CHANGE_REQUEST,)}, "CHANGE-REQUEST"),
        ({"other": (NatLab.SERVER4[0], 6479)}, "isn't another"),
        ({"mute": ((NatLab.SERVER4[1], 6478), (NatLab.SERVER4[1], 6479))}, "doesn't answer"),
    ],
    ids=["ignores", "refuses", "lies", "is-half-there"],
)
def test_half_a_server_can_not_tell_and_nothing_is_guessed(nats, half, said):
    fake = FakeStun(nats.server, nats.SERVER4, (6478, 6479), **half)
    try:
        _, report = check(nats.site("full-cone"), f"{nats.SERVER4[0]}:6478", "--lifetime", 5)
    finally:
        fake.close()
    path = only_path(report)
    assert path["nat"]["name"] is None and path["nat"]["filtering"] is None
    assert any(said in doubt for doubt in path["unknown"]), path["unknown"]
    # RESPONSE-PORT is ignored: the answer comes to who asked.
    assert path["nat"]["lifetime"] is None and any("RESPONSE-PORT" in doubt for doubt in path["unknown"])


def test_server_that_is_not_there_is_told_soon(nats):
    begun = time.monotonic()
    status, report = check(nats.site("port"), "203.0.113.99", "--timeout", 0.5)
    assert status == NOT_REACHED and time.monotonic() - begun < 10
    assert only_path(report)["nat"]["name"] is None
    status, report = check(nats.site("port"), f"{nats.SERVER4[0]}:9", "--tls-port", 9, "--timeout", 0.5)
    # It says itself that nobody is there; but the router lets no such word through from everybody.
    assert status == NOT_REACHED and only_path(report)["udp"]["outcome"] in ("unreachable", "silent")
    status, _, err = end(begin(nats.site("port"), "no-such-name.invalid"), 60)
    assert status == NOT_REACHED and "no-such-name.invalid" in err


def test_server_that_floods_is_left_in_time(nats):
    stopped = threading.Event()
    with nats.server.inside():
        listener = socket.create_server((nats.SERVER4[0], 7478))
    listener.settimeout(0.1)

    def flood(sock):
        with sock, contextlib.suppress(OSError):
            sock.settimeout(1)
            while not stopped.is_set():
                sock.sendall((bytes.fromhex("001100002112a442") + bytes(12)) * 1000)

    def serve():
        while not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                threads.append(threading.Thread(target=flood, args=(listener.accept()[0],)))
                threads[-1].start()

    threads = [threading.Thread(target=serve)]
    threads[0].start()
    try:
        words = ("--user", "alice", "--password", PASSWORD, "--turn", "tcp", "--timeout", 1, "--tls-port", 9)
        status, report = check(nats.site("port"), f"{nats.SERVER4[0]}:7478", *words)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
        listener.close()
    assert status == TURN_FAILS and report["seconds"] < 30
    path = only_path(report)
    assert path["tcp"]["connected"] and not path["tcp"]["answered"]
    assert "no answer" in path["turn"][0]["error"]


def test_each_interface_is_looked_from_or_the_chosen_one(nats):
    site = nats.site("port")
    site.client.ip("link", "add", "aside", "type", "bridge")
    site.client.ip("addr", "add", "10.99.0.1/24", "dev", "aside")
    site.client.ip("link", "set", "aside", "up")
    try:
        status, report = check(site, nats.SERVER4[0])
        assert status == FINE and [path["interface"] for path in report["paths"]] == ["eth0"]
        assert report["without_way"] == ["aside"]
        status, report = check(site, nats.SERVER4[0], "--interface", "aside")
        assert status == NOT_REACHED and report["paths"] == [] and report["without_way"] == ["aside"]
        _, report = check(site, nats.SERVER4[0], "--interface", site.client4)
        assert only_path(report)["local"] == site.client4
    finally:
        site.client.ip("link", "del", "aside")


def test_people_read_what_it_means_in_colour_on_a_terminal_only(nats):
    site = nats.site("symmetric")
    status, out, _ = end(begin(site, nats.SERVER4[0]))
    assert status == RELAY_NEEDED
    for words in ("symmetric", "address-and-port-dependent", "TURN server", "took ", "UDP           works"):
        assert words in out
    assert "\033" not in out

    def on_terminal(**environment):
        ours, theirs = pty.openpty()
        process = begin(site, nats.SERVER4[0], stdout=theirs, env={**os.environ, "TERM": "xterm", **environment})
        os.close(theirs)
        told = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:
                break
            if not chunk:
                break
            told += chunk
        os.close(ours)
        end(process)
        return told

    assert b"\033[33m" in on_terminal(NO_COLOR="")
    assert b"\033" not in on_terminal(NO_COLOR="1")


def test_bad_command_line_says_what_to_type(nats):
    site = nats.site("port")
    for words in ((), ("--nothing",), ("a:b:c",), (nats.SERVER4[0], "--user", "alice")):
        status, out, err = end(begin(site, *words))
        assert status == USAGE and out == "" and "for example: turnpike-natcheck" in err
