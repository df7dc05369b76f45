"""A link of 1280 bytes behind a router, on the client's or the peer's side: routers on the way say so by ICMP, and
full-size packets get through again. Once a router has spoken, one more is lost at most: the next with DF, which the
relay refuses in the router's name. A busy router may be silent about the first or second that it refuses."""

import socket

import pytest

import turn_client as turn
from lab import RoutedLab, wait_for
from turn_client import TurnClient

PACKETS, SIZE = 10, 1250


@pytest.fixture
def routed():
    network = RoutedLab()
    yield network
    network.close()


@pytest.fixture(params=["af_xdp", "af_packet"])
def relay(routed, request):
    relay = routed.start_relay(driver=request.param)
    yield relay
    assert relay.stop() == 0, relay.output()


def warm(one, peer, relayed):
    """Until neighbours are known both ways."""

    def answers():
        peer.sendto(b"warm", relayed)
        try:
            return one.receive_any()
        except socket.timeout:
            return None

    wait_for(answers, 10, "a first packet")
    one.sock.settimeout(0.3)
    try:
        while True:
            one.receive_any()
    except socket.timeout:
        pass
    one.sock.settimeout(1)


def has_been_told(relay):
    """By a router, of a packet that was too big."""
    return (
        relay.total("turnpike_dropped_packets_total", reason="path_mtu")
        + relay.total("turnpike_worker_icmp_relayed_total")
    ) > 0


@pytest.mark.parametrize("version", ["4", "6"])
def test_client_behind_a_small_link(routed, relay, version):
    six = version == "6"
    routed.narrow(routed.client, 1280)
    with routed.client.udp(routed.CLIENT6 if six else routed.CLIENT4) as sock, routed.peer.udp(routed.PEER4) as peer:
        one = TurnClient(sock, (routed.SERVER6 if six else routed.SERVER4, 3478))
        relayed = one.allocate(*([(turn.REQUESTED_ADDRESS_FAMILY, bytes([1, 0, 0, 0]))] if six else [])).address(
            turn.XOR_RELAYED_ADDRESS
        )
        assert one.channel_bind(0x4000, *peer.getsockname()).message_class == turn.SUCCESS
        warm(one, peer, relayed)
        came = lost = 0
        for number in range(PACKETS):
            told = has_been_told(relay)
            peer.sendto(bytes([number]) * SIZE, relayed)
            try:
                assert one.receive_any() == ("channel", 0x4000, bytes([number]) * SIZE)
                came += 1
            except socket.timeout:
                lost += told
        assert lost <= 1 and came >= PACKETS - 4
    assert relay.total("turnpike_dropped_packets_total", reason="path_mtu") >= 1


@pytest.mark.parametrize("version", ["4", "6"])
def test_peer_behind_a_small_link(routed, relay, version):
    six = version == "6"
    routed.narrow(routed.peer, 1280)
    with routed.client.udp(routed.CLIENT4) as sock, routed.peer.udp(routed.PEER6 if six else routed.PEER4) as peer:
        one = TurnClient(sock, (routed.SERVER4, 3478))
        relayed = one.allocate((turn.REQUESTED_ADDRESS_FAMILY, bytes([2 if six else 1, 0, 0, 0]))).address(
            turn.XOR_RELAYED_ADDRESS
        )
        assert one.channel_bind(0x4000, *peer.getsockname()[:2]).message_class == turn.SUCCESS
        warm(one, peer, relayed)
        came = lost = 0
        for number in range(PACKETS):
            told = has_been_told(relay)
            one.channel_data(0x4000, bytes([number]) * (SIZE + 10))
            try:
                assert peer.recv(2000) == bytes([number]) * (SIZE + 10)
                came += 1
            except socket.timeout:
                lost += told
        assert lost <= 1 and came >= PACKETS - 4
