"""Fragments in any order, and such as are none: raw IP packets from the client's and the peer's host."""

import contextlib
import os
import socket
import struct

import pytest

import turn_client as turn
from lab import wait_for
from turn_client import TurnClient


@pytest.fixture(scope="module", params=["af_xdp", "af_packet"])
def relay(request, lab):
    relay = lab.start_relay(driver=request.param)
    yield relay
    assert relay.stop() == 0, relay.output()


def udp(source, destination, source_port, port, data):
    """A UDP datagram with its checksum, over either family."""
    length = 8 + len(data)
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    words = addresses + struct.pack("!II", length, 17) + struct.pack("!HHHH", source_port, port, length, 0) + data
    total = sum(struct.unpack(f"!{(len(words) + 1) // 2}H", words + bytes(len(words) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!HHHH", source_port, port, length, ~total & 0xFFFF or 0xFFFF) + data


def pieces(source, destination, datagram, size=1448):
    """The fragments of a datagram, first to last, as IP packets (IPv4) or with their extension header (IPv6)."""
    identity = struct.unpack("!I", os.urandom(4))[0]
    out = []
    for offset in range(0, len(datagram), size):
        part = datagram[offset : offset + size]
        more = offset + size < len(datagram)
        if ":" in source:
            out.append(struct.pack("!BBHI", 17, 0, offset | more, identity) + part)
        else:
            out.append(
                struct.pack(
                    "!BBHHHBBH4s4s",
                    0x45,
                    0,
                    20 + len(part),
                    identity & 0xFFFF,
                    offset // 8 | (0x2000 if more else 0),
                    64,
                    17,
                    0,
                    socket.inet_aton(source),
                    socket.inet_aton(destination),
                )
                + part
            )
    return out


@contextlib.contextmanager
def raw(host, destination):
    """Sends what pieces() made; the kernel fills in the checksum (IPv4) or the header (IPv6)."""
    with host.inside():
        if ":" in destination:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 44)
        else:
            sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sock:
        yield lambda packet: sock.sendto(packet, (destination, 0))


ORDERS = [(2, 1, 0), (1, 2, 0), (1, 0, 2), (0, 2, 1)]


def warm_up(one, peer, relayed):
    """Until both ways are open: a new link's first neighbour over IPv6 may take some seconds."""

    def comes_through():
        with contextlib.suppress(TimeoutError):
            one.channel_data(0x4000, b"warm")
            peer.sendto(b"warm", relayed)
            return peer.recv(100) == b"warm" and one.receive_any() == ("channel", 0x4000, b"warm")
        return False

    for sock in (one.sock, peer):
        sock.settimeout(0.3)
    wait_for(comes_through, 10, "a warm link")
    for sock in (one.sock, peer):
        sock.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            while True:
                sock.recv(100)
        sock.settimeout(1)


@pytest.fixture(params=["4", "6"])
def call(request, lab, relay):
    """A client with a channel to a peer, all of one family."""
    six = request.param == "6"
    client, server, peer_at = (lab.CLIENT6, lab.SERVER6, lab.PEER6) if six else (lab.CLIENT4, lab.SERVER4, lab.PEER4)
    with lab.client.udp(client) as sock, lab.peer.udp(peer_at) as peer:
        one = TurnClient(sock, (server, 3478))
        relayed = one.allocate((turn.REQUESTED_ADDRESS_FAMILY, bytes([2 if six else 1, 0, 0, 0]))).address(
            turn.XOR_RELAYED_ADDRESS
        )
        assert one.channel_bind(0x4000, *peer.getsockname()[:2]).message_class == turn.SUCCESS
        warm_up(one, peer, relayed)
        yield one, peer, relayed
        one.refresh(0)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(map(str, order)))
def test_fragments_of_a_client_in_any_order(lab, call, order):
    one, peer, _ = call
    source, destination = one.sock.getsockname()[:2], one.server[0]
    body = os.urandom(3000)
    datagram = udp(source[0], destination, source[1], 3478, struct.pack("!HH", 0x4000, len(body)) + body)
    parts = pieces(source[0], destination, datagram)
    with raw(lab.client, destination) as send:
        for number in order:
            send(parts[number])
    assert peer.recv(4000) == body


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(map(str, order)))
def test_fragments_of_a_peer_in_any_order(lab, call, order):
    one, peer, relayed = call
    source = peer.getsockname()[:2]
    body = os.urandom(3000)
    parts = pieces(source[0], relayed[0], udp(source[0], relayed[0], source[1], relayed[1], body))
    with raw(lab.peer, relayed[0]) as send:
        for number in order:
            send(parts[number])
    assert one.receive_any() == ("channel", 0x4000, body)


def test_atomic_fragments_are_whole(lab, call):
    """As translators to RFC 6145 send everything."""
    one, peer, relayed = call
    source, destination = one.sock.getsockname()[:2], one.server[0]
    if ":" not in destination:
        pytest.skip("IPv6 has them")
    with raw(lab.client, destination) as send:
        identity = os.urandom(12)
        binding = turn.build(turn.BINDING, turn.REQUEST, identity, [], fingerprint=False)
        (atom,) = pieces(source[0], destination, udp(source[0], destination, source[1], 3478, binding))
        send(atom)
        assert one.receive(identity).address(turn.XOR_MAPPED_ADDRESS) == source
        (atom,) = pieces(
            source[0],
            destination,
            udp(source[0], destination, source[1], 3478, struct.pack("!HH", 0x4000, 5) + b"atoms"),
        )
        send(atom)
    assert peer.recv(100) == b"atoms"
    with raw(lab.peer, relayed[0]) as send:
        source = peer.getsockname()[:2]
        (atom,) = pieces(source[0], relayed[0], udp(source[0], relayed[0], source[1], relayed[1], b"back"))
        send(atom)
    assert one.receive_any() == ("channel", 0x4000, b"back")


def test_train_of_segments_is_refused_by_name(lab, relay, call):
    """UDP segmentation offload over a veth: af_packet sees nine datagrams as one."""
    one, peer, _ = call
    if "af_packet" not in relay.command[2]:
        pytest.skip("XDP on a veth switches the sender's offload off")
    before = relay.total("turnpike_dropped_packets_total", reason="segment_train")
    one.sock.setsockopt(socket.SOL_UDP, 103, 1204)  # UDP_SEGMENT
    one.send_raw((struct.pack("!HH", 0x4000, 1200) + bytes(1200)) * 9)
    one.sock.setsockopt(socket.SOL_UDP, 103, 0)
    peer.settimeout(0.5)
    with pytest.raises(socket.timeout):
        peer.recv(2000)
    assert relay.total("turnpike_dropped_packets_total", reason="segment_train") == before + 1
