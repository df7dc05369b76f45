"""Who has not shown yet that he is where he says: many clients at once, old ones, and what costs more than it should."""

import os
import select
import struct
import time
from pathlib import Path

import pytest

import turn_client as turn
from lab import wait_for
from turn_client import TurnClient

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def relay(lab):
    relay = lab.start_relay(driver="af_xdp")
    yield relay
    assert relay.stop() == 0, relay.output()


def test_a_thousand_clients_of_one_address_are_challenged_at_once(lab, relay):
    """All come back after an outage; none has a nonce. As they retransmit, which none should need to."""
    clients = [lab.client.udp(lab.CLIENT4) for _ in range(1000)]
    try:
        waiting = {}
        poll = select.poll()
        for sock in clients:
            sock.connect((lab.SERVER4, 3478))
            sock.setblocking(False)
            request = turn.build(
                turn.ALLOCATE, turn.REQUEST, os.urandom(12), [(turn.REQUESTED_TRANSPORT, bytes([17, 0, 0, 0]))]
            )
            waiting[sock.fileno()] = sock, request
            poll.register(sock, select.POLLIN)
        begin = time.monotonic()
        for i, (sock, request) in enumerate(waiting.values()):
            sock.send(request)
            if i % 100 == 99:
                time.sleep(0.005)  # the socket buffers of this host are no part of the test
        while waiting and time.monotonic() - begin < 2:
            for descriptor, _ in poll.poll(100):
                sock, request = waiting.pop(descriptor)
                answer = turn.Message(sock.recv(1000))
                assert answer.error == 401 and answer.transaction == request[8:20]
                poll.unregister(descriptor)
        assert not waiting, f"{len(waiting)} had no answer within 2 s"
        assert relay.total("turnpike_dropped_packets_total", reason="challenge_source_limit") == 0
    finally:
        for sock in clients:
            sock.close()


def test_a_challenge_is_at_most_three_times_the_smallest_request(lab, relay):
    sock = lab.client.udp(lab.CLIENT4)
    sock.sendto(turn.build(turn.ALLOCATE, turn.REQUEST, os.urandom(12), [], fingerprint=False), (lab.SERVER4, 3478))
    answer = sock.recv(2000)
    assert turn.Message(answer).error == 401
    assert 28 + len(answer) <= 3 * (28 + 20)
    sock.close()


def test_classic_binding_is_answered(lab, relay):
    sock = lab.client.udp(lab.CLIENT4)
    for attributes in (b"", struct.pack("!HHI", 3, 4, 0)):
        identity = os.urandom(16)
        sock.sendto(struct.pack("!HH", 1, len(attributes)) + identity + attributes, (lab.SERVER4, 3478))
        answer = sock.recv(2000)
        port = struct.pack("!H", sock.getsockname()[1])
        assert answer == (
            bytes.fromhex("01010018")
            + identity
            + bytes.fromhex("000100080001")
            + port
            + bytes(map(int, lab.CLIENT4.split(".")))
            + bytes.fromhex("0004000800010d96")
            + bytes(map(int, lab.SERVER4.split(".")))
        )
    before = relay.total("turnpike_dropped_packets_total", reason="shared_secret")
    sock.sendto(struct.pack("!HH", 2, 0) + os.urandom(16), (lab.SERVER4, 3478))
    wait_for(
        lambda: relay.total("turnpike_dropped_packets_total", reason="shared_secret") == before + 1,
        5,
        "a Shared Secret request counted",
    )
    sock.close()


def test_debians_stun_client_finds_its_way(lab, relay):
    result = lab.client.exec("stun", lab.SERVER4, "-v", check=False)
    assert "Blocked" not in result.stdout and "MappedAddress = " + lab.CLIENT4 in result.stdout, result.stdout


@pytest.fixture
def inside(lab):
    """A host behind the client's host, which is its NAT."""
    host = lab.add("inside")
    lab.join(host, "eth0", ["192.168.77.2/24"], lab.client, "inner", ["192.168.77.1/24"])
    host.ip("route", "add", "default", "via", "192.168.77.1")
    lab.client.exec("sysctl", "-q", "net.ipv4.ip_forward=1")
    lab.client.exec(
        "nft",
        "add table ip inside; add chain ip inside out { type nat hook postrouting priority 100; };"
        f" add rule ip inside out oifname eth0 ip saddr 192.168.77.0/24 snat to {lab.CLIENT4}",
    )
    yield host
    lab.client.exec("nft", "delete table ip inside")
    lab.client.ip("link", "del", "inner")


def test_libnice_finds_its_reflexive_candidate_without_waiting(lab, relay, inside):
    """Unanswered it waits for two seconds."""
    result = inside.exec("/usr/bin/python3", HERE / "nice_agent.py", "192.168.77.2", lab.SERVER4, 3478)
    seconds, *candidates = result.stdout.split()
    found = dict(zip(candidates[::2], candidates[1::2]))
    assert found.get("server_reflexive", "").startswith(lab.CLIENT4 + ":"), result.stdout
    assert float(seconds) < 1, result.stdout


def bomb(method, message_class):
    """As many attributes as fit a packet."""
    return turn.build(method, message_class, os.urandom(12), [(0x8022, b"")] * 345, fingerprint=False)


@pytest.mark.timeout(60)
def test_messages_of_many_attributes_are_dropped_by_name_and_media_goes_on(lab, relay):
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    peer = lab.peer.udp(lab.PEER4)
    assert one.channel_bind(0x4000, *peer.getsockname()).message_class == turn.SUCCESS
    stranger = lab.client.udp(lab.CLIENT4)
    bombs = [bomb(turn.ALLOCATE, turn.REQUEST), bomb(turn.SEND, turn.INDICATION)]
    sent = 2000
    for i in range(sent):
        stranger.sendto(bombs[i % 2], one.server)
        if i % 20 == 0:
            payload = struct.pack("!I", i)
            one.channel_data(0x4000, payload)
            assert peer.recvfrom(100) == (payload, relayed)
    wait_for(
        lambda: sum(
            relay.total("turnpike_dropped_packets_total", reason=reason)
            for reason in ("too_many_attributes", "no_allocation")
        )
        >= sent,
        5,
        "every one of them counted",
    )
    one.refresh(0)
    for sock in (stranger, peer, one.sock):
        sock.close()
