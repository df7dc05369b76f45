"""Lists of addresses from files, as long as blocklists are: peers that are refused, clients that get no answer."""

import os
import random
import struct

import pytest

import turn_client as turn
from lab import BINARY, wait_for
from turn_client import TurnClient

DENIED4, DENIED6 = "10.201.1.77", "fd20:1::77"
LINES = 100_000


@pytest.fixture(scope="module")
def relay(lab, tmp_path_factory):
    """Each list has a hundred thousand prefixes of each family besides those that are asked for."""
    folder = tmp_path_factory.mktemp("lists")
    random.seed(7)
    lines = [f"{random.randint(20, 90)}.{i >> 8 & 255}.{i & 255}.{random.randint(0, 255)}" for i in range(LINES)]
    lines += [f"2a00:{i >> 4:x}:{i & 15:x}00::/40 ; SBL{i}" for i in range(LINES)]
    random.shuffle(lines)
    (folder / "long.netset").write_text("# as lists come\r\n" + "\n".join(lines) + "\n")
    (folder / "peers.txt").write_text("8.8.8.0/24 ; SBL1\n\n2606:4700::/32\n10.201.2.0/24 # which the flags allow\n")
    (folder / "clients.txt").write_text(f"{DENIED4}\n{DENIED6}\n")
    config = folder / "turnpike.toml"
    config.write_text(
        '[peers]\ndeny_files = ["long.netset", "peers.txt"]\n'
        '[clients]\ndeny_files = ["long.netset", "clients.txt"]\n'
    )
    for address in (f"{DENIED4}/24", f"{DENIED6}/64"):
        lab.client.ip("addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
    relay = lab.start_relay("--config", config)
    yield relay
    assert relay.stop() == 0, relay.output()
    for address in (f"{DENIED4}/24", f"{DENIED6}/64"):
        lab.client.ip("addr", "del", address, "dev", "eth0")


@pytest.fixture
def client(lab, relay):
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    yield one
    one.refresh(0)
    one.sock.close()


def test_a_peer_of_a_file_is_refused(client, lab):
    assert client.allocate().message_class == turn.SUCCESS
    assert client.create_permission("8.8.8.8").error == 403
    assert client.channel_bind(0x4000, "8.8.8.9", 80).error == 403
    assert client.create_permission(lab.PEER4).message_class == turn.SUCCESS  # allowed by name
    assert client.create_permission("8.8.9.8").message_class == turn.SUCCESS


def test_a_peer_of_a_file_is_refused_over_ipv6(client):
    assert client.allocate((turn.REQUESTED_ADDRESS_FAMILY, bytes([2, 0, 0, 0]))).message_class == turn.SUCCESS
    assert client.create_permission("2606:4700::1111").error == 403
    assert client.create_permission("2a00:1:200::1").error == 403
    assert client.create_permission("2606:4701::1111").message_class == turn.SUCCESS


@pytest.mark.parametrize("address", [DENIED4, DENIED6])
def test_a_denied_client_gets_nothing_and_is_counted(lab, relay, address):
    server, other = (lab.SERVER6, lab.CLIENT6) if ":" in address else (lab.SERVER4, lab.CLIENT4)
    identity = os.urandom(12)
    requests = [
        turn.build(turn.BINDING, turn.REQUEST, identity, [], fingerprint=False),
        turn.build(turn.BINDING, turn.REQUEST, identity, []),
        turn.build(turn.ALLOCATE, turn.REQUEST, identity, [(turn.REQUESTED_TRANSPORT, bytes([17, 0, 0, 0]))]),
        struct.pack("!HH", 1, 0) + os.urandom(16),  # of RFC 3489
    ]
    before = relay.total("turnpike_dropped_packets_total", reason="client_denied")
    with lab.client.udp(address) as denied, lab.client.udp(other) as allowed:
        for request in requests:
            denied.sendto(request, (server, 3478))
        wait_for(
            lambda: relay.total("turnpike_dropped_packets_total", reason="client_denied") == before + len(requests),
            5,
            "each denied request counted",
        )
        for request in requests:
            allowed.sendto(request, (server, 3478))
            assert allowed.recv(2000)
        # What was answered to others came back: so would have what was asked before.
        denied.setblocking(False)
        with pytest.raises(BlockingIOError):
            denied.recv(2000)
    assert relay.total("turnpike_dropped_packets_total", reason="client_denied") == before + len(requests)


def test_a_wrong_line_ends_the_start(lab, tmp_path):
    (tmp_path / "bad.netset").write_text("# one\n11.0.0.0/8\n11.0.0.1/8\n")
    config = tmp_path / "turnpike.toml"
    config.write_text('[peers]\ndeny_files = ["bad.netset"]\n[clients]\nallow_files = ["none.netset"]\n')
    words = ("--config", config, "--port", "af_xdp:north", "--user", "a:b", "--realm", "r")
    for flags in (words, (*words, "--check-config")):
        result = lab.relay.exec(BINARY, *flags, check=False)
        assert result.returncode == 2
        assert f"{tmp_path}/bad.netset:3: peers.deny_files[0]: expected an address or prefix" in result.stdout
        assert f"{config}:4: clients.allow_files[0]: " in result.stdout
        assert f"{tmp_path}/none.netset: No such file or directory" in result.stdout
