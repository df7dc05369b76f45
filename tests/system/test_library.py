"""The public library as a stranger has it: installed, found by pkg-config, and enough for a TURN server of a page."""

import os
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from lab import BINARY, Host, run, wait_for
from turn_client import DATA_ATTRIBUTE, SUCCESS, TurnClient

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """examples/turn_server, compiled against what `meson install` puts into an empty directory."""
    build = Path(BINARY).resolve().parents[1]
    if not (build / "build.ninja").exists():
        pytest.skip(f"{build} is no build directory: the program under test was copied")
    place = tmp_path_factory.mktemp("installed")
    run("meson", "install", "-C", build, "--no-rebuild", "--tags", "devel", "--destdir", place, timeout=300)
    found = next(place.rglob("turnpike.pc"))
    flags = subprocess.run(
        ["pkg-config", "--static", "--cflags", "--libs", "turnpike"],
        check=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": str(found.parent), "PKG_CONFIG_SYSROOT_DIR": str(place)},
        stdout=subprocess.PIPE,
    ).stdout
    assert str(ROOT) not in flags
    out = place / "turn_server"
    # Through a copy, so that no header of the checkout is found beside it.
    source = place / "turn_server.cpp"
    source.write_text((ROOT / "examples" / "turn_server.cpp").read_text())
    # The system's own OpenSSL is not under the sysroot.
    words = [word for word in shlex.split(flags) if not word.startswith(f"-L{place}/usr/lib/x86")]
    run("c++", "-std=c++20", "-Wall", "-Wextra", source, "-o", out, *words, timeout=300)
    return out


@pytest.fixture
def server(program):
    host = Host(f"tpk-{os.getpid()}-library")
    try:
        host.ip("link", "set", "lo", "up")
        process = host.start(
            program, "127.0.0.1:3478", "example.org", "alice", "secret", stdout=subprocess.PIPE, text=True
        )
        wait_for(lambda: "listening" in process.stdout.readline(), 10, "the example listens")
        yield host
    finally:
        host.close()


def test_relays_both_ways_by_channel_and_by_permission(server):
    client = TurnClient(server.udp("127.0.0.1"), ("127.0.0.1", 3478))
    peer = server.udp("127.0.0.1")
    peer.settimeout(5)
    at = peer.getsockname()
    assert client.allocate().message_class == SUCCESS
    assert client.create_permission(at[0]).message_class == SUCCESS
    client.send(*at, b"by permission")
    data, relayed = peer.recvfrom(2048)
    assert data == b"by permission"
    peer.sendto(b"back", relayed)
    assert client.receive_any().get(DATA_ATTRIBUTE) == b"back"
    assert client.channel_bind(0x4000, *at).message_class == SUCCESS
    client.channel_data(0x4000, b"by channel")
    assert peer.recvfrom(2048) == (b"by channel", relayed)
    peer.sendto(b"back again", relayed)
    assert client.receive_any() == ("channel", 0x4000, b"back again")
    assert client.refresh(0).message_class == SUCCESS
    with pytest.raises(socket.timeout):
        peer.settimeout(0.3)
        client.channel_data(0x4000, b"too late")
        peer.recvfrom(2048)


def test_refuses_who_has_no_password(server):
    client = TurnClient(server.udp("127.0.0.1"), ("127.0.0.1", 3478), password="wrong")
    assert client.allocate().error == 401


def test_says_what_to_type(program):
    done = subprocess.run([program, "nonsense"], check=False, capture_output=True, text=True)
    assert done.returncode == 2 and "ADDRESS:PORT" in done.stderr
