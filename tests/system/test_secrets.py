"""What a running relay keeps, and who can see it: passwords are keys once it runs, and nothing shows them."""

import os
import re

import pytest
import turn_client as turn
from lab import BINARY, Lab, wait_for
from turn_client import TurnClient

LONG = "a-password-that-stands-nowhere-else-7391"
SHORT = "kq7Zx-9"  # fits into a string object itself
FILED = "another-one-from-the-file-52086"


def memory_has(pid, words):
    """Which of `words` stand in the writable memory of a process, mappings of gigabytes aside."""
    found = set()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            begin, end = (int(number, 16) for number in line.split()[0].split("-"))
            if "rw" not in line.split()[1] or end - begin > 1 << 28:
                continue
            try:
                memory.seek(begin)
                content = memory.read(end - begin)
            except OSError:
                continue  # a device's
            found |= {word for word in words if word.encode() in content}
    return found


@pytest.fixture
def relay():
    lab = Lab()
    try:
        yield lab, lab.start_relay("--user", f"dora:{LONG}", "--user", f"emil:{SHORT}")
    finally:
        lab.close()


def test_passwords_are_nowhere_in_memory_or_arguments(relay, tmp_path):
    lab, running = relay
    pid = running.process.pid
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478), username="dora", password=LONG)
    assert one.allocate().message_class == turn.SUCCESS
    assert memory_has(pid, [LONG, SHORT]) == set()
    assert memory_has(pid, ["dora"]) == {"dora"}, "the search finds what is there"
    arguments = open(f"/proc/{pid}/cmdline").read()
    assert LONG not in arguments and SHORT not in arguments and "dora:***" in arguments


def test_passwords_of_a_file_are_nowhere_in_memory(tmp_path):
    lab = Lab()
    try:
        path = tmp_path / "secret.toml"
        path.write_text(
            f"""
realm = "example.org"
port = [{{ device = "af_xdp:north" }}]
[auth]
users = [{{ name = "dora", password = "{FILED}" }}, {{ name = "emil", password = "{SHORT}" }}]
"""
        )
        os.chmod(path, 0o644)
        log = open(tmp_path / "log", "w+")
        process = lab.relay.start(BINARY, "--config", path, stdout=log, stderr=log)
        wait_for(lambda: re.search("ready$", (tmp_path / "log").read_text(), re.M), 30, "ready")
        assert memory_has(process.pid, [FILED, SHORT]) == set()
        assert "everybody on this host can read it" in (tmp_path / "log").read_text()
        process.terminate()
        assert process.wait(timeout=10) == 0
    finally:
        lab.close()


def test_nothing_is_dumped_when_it_crashes(relay):
    pid = relay[1].process.pid
    limits = open(f"/proc/{pid}/limits").read()
    assert re.search(r"Max core file size +0 +0 ", limits)
