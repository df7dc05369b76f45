"""What strangers and users send in masses: the relay lives, media beside it flows, others are answered."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import turn_client as turn
from lab import wait_for
from turn_client import TurnClient

FLOOD = Path(__file__).resolve().parent / "flood.py"


def stranger(host, address, server):
    """The source port of a five-tuple of `host`'s and a request that passes the stateless answers and no further:
    nobody's user, with a nonce of its own."""
    sock = host.udp(address)
    client = TurnClient(sock, (server, 3478))
    challenge = client.request(turn.ALLOCATE, authenticate=False)
    assert challenge.error == 401
    message = turn.build(
        turn.ALLOCATE,
        turn.REQUEST,
        bytes(12),
        [
            (turn.USERNAME, b"nobody"),
            (turn.USERHASH, bytes(32)),
            (turn.REALM, b"example.org"),
            (turn.NONCE, challenge.get(turn.NONCE)),
            (turn.REQUESTED_TRANSPORT, b"\x11\0\0\0"),
        ],
        key=bytes(16),
    )
    port = sock.getsockname()[1]
    sock.close()
    return port, message


def flood(attack, host, address, server, per_second, seconds):
    port, message = attack
    return host.start(
        sys.executable,
        FLOOD,
        address,
        port,
        server,
        3478,
        per_second,
        int(per_second * seconds),
        seconds,
        message.hex(),
        stdout=subprocess.PIPE,
    )


def call(lab):
    """A client with a channel to a peer."""
    client = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    client.allocate()
    peer = lab.peer.udp(lab.PEER4)
    assert client.channel_bind(0x4000, *peer.getsockname()).message_class == turn.SUCCESS
    return client, peer


def media_flows(client, peer, packets=50):
    """How many of `packets` arrive, 2 ms apart."""
    arrived = 0
    peer.settimeout(0.2)
    for number in range(packets):
        client.channel_data(0x4000, b"%d" % number)
        time.sleep(0.002)
    try:
        for _ in range(packets):
            peer.recv(100)
            arrived += 1
    except TimeoutError:
        pass
    return arrived


def test_more_queues_than_workers_under_a_flood_of_requests(fresh_lab):
    """Frames come by two ports, replies are collected by one worker: it must keep up with itself."""
    lab = fresh_lab
    relay = lab.start_relay(listen=[f"{lab.SERVER4}:3478", f"{lab.RELAY4}:3478"], relays=[lab.RELAY4])
    client, peer = call(lab)
    floods = [
        flood(stranger(host, address, server), host, address, server, 100_000, 3)
        for host, address, server in ((lab.client, lab.CLIENT4, lab.SERVER4), (lab.peer, lab.PEER4, lab.RELAY4))
    ]
    arrived = media_flows(client, peer)
    sent = [int(process.communicate(timeout=30)[0]) for process in floods]
    assert relay.process.poll() is None, relay.output()
    assert min(sent) > 1000
    assert arrived > 25, "media is not starved"
    assert media_flows(client, peer) == 50, "afterwards nothing is lost"


def hostile_user(host, address, server):
    """The source port of an allocation and a request of its owner's that is as much work as one can be."""
    sock = host.udp(address)
    client = TurnClient(sock, (server, 3478))
    client.allocate()
    transaction = bytes(12)
    peers = [(turn.XOR_PEER_ADDRESS, turn.xor_address(f"198.51.100.{number}", 0, transaction)) for number in range(100)]
    message = turn.build(
        turn.CREATE_PERMISSION, turn.REQUEST, transaction, peers + client.credentials(), key=client.key
    )
    port = sock.getsockname()[1]
    sock.close()
    return port, message


def answered_in(client, method, attributes=()):
    """How long it took, in seconds; the client asks again as RFC 8489 says."""
    begin = time.monotonic()
    assert client.request(method, attributes).error is None
    return time.monotonic() - begin


@pytest.mark.parametrize("attacker", [stranger, hostile_user])
def test_others_are_answered_beside_a_flood_of_requests(fresh_lab, attacker):
    lab = fresh_lab
    relay = lab.start_relay(listen=[f"{lab.SERVER4}:3478", f"{lab.RELAY4}:3478"], relays=[lab.RELAY4])
    old = TurnClient(lab.peer.udp(lab.PEER4), (lab.RELAY4, 3478))
    old.allocate()
    client, peer = call(lab)
    process = flood(attacker(lab.client, lab.CLIENT4, lab.SERVER4), lab.client, lab.CLIENT4, lab.SERVER4, 40_000, 4)
    wait_for(
        lambda: relay.total("turnpike_dropped_packets_total", reason="request_limit")
        + relay.total("turnpike_dropped_packets_total", reason="request_source_limit")
        > 1000,
        10,
        "the flood is refused by name",
    )
    times = []
    for _ in range(20):
        times.append(answered_in(old, turn.REFRESH))
        new = TurnClient(lab.peer.udp(lab.PEER4), (lab.RELAY4, 3478))
        new.nonce = new.request(turn.ALLOCATE, authenticate=False).get(turn.NONCE)
        times.append(answered_in(new, turn.ALLOCATE, [(turn.REQUESTED_TRANSPORT, b"\x11\0\0\0")]))
    arrived = media_flows(client, peer)
    process.communicate(timeout=30)
    times.sort()
    # On a quiet machine all of them take less than a millisecond; here others are at work too.
    assert times[len(times) // 2] < 0.05 and times[-1] < 2, times
    assert arrived > 25
