"""Expiry of permission, channel and allocation. The relay's clock runs 60 times as fast: 300 s are 5 s here."""

import socket
import time

import pytest

import turn_client as turn
from turn_client import TurnClient

SCALE = 60


@pytest.fixture(scope="module")
def relay(lab, tmp_path_factory):
    path = tmp_path_factory.mktemp("relay") / "scale.toml"
    path.write_text(f"[test]\ntime_scale = {SCALE}\n")
    relay = lab.start_relay("--config", path)
    yield relay
    assert relay.stop() == 0, relay.output()


def arrives(peer):
    try:
        return peer.recv(100)
    except socket.timeout:
        return None


@pytest.fixture
def pair(lab, relay):
    """A client with an allocation, and a peer."""
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    peer = lab.peer.udp(lab.PEER4)
    peer.settimeout(0.3)
    yield one, peer, relayed
    one.sock.close()
    peer.close()


def test_permission_ends_after_300_seconds(pair):
    one, peer, _ = pair
    one.create_permission(peer.getsockname()[0])
    one.send(*peer.getsockname(), b"early")
    assert arrives(peer) == b"early"
    time.sleep(240 / SCALE)
    one.send(*peer.getsockname(), b"still")
    assert arrives(peer) == b"still"
    time.sleep(70 / SCALE)
    one.send(*peer.getsockname(), b"late")
    assert arrives(peer) is None


def test_channel_outlives_its_permission_both_ways(lab, pair):
    one, peer, relayed = pair
    one.channel_bind(0x4000, *peer.getsockname())
    time.sleep(330 / SCALE)
    one.channel_data(0x4000, b"channel lives")
    assert arrives(peer) == b"channel lives"
    peer.sendto(b"and lets its peer in", relayed)
    assert one.receive_any() == ("channel", 0x4000, b"and lets its peer in")
    one.sock.settimeout(0.3)
    with lab.peer.udp(lab.PEER4) as other, pytest.raises(socket.timeout):
        other.sendto(b"not from another port", relayed)
        one.receive_any()


def test_call_that_refreshes_channels_alone_lives_for_thirteen_minutes(pair):
    """As aioice does, and so all of aiortc's bots: no CreatePermission ever, a ChannelBind every 500 s."""
    one, peer, relayed = pair
    one.sock.settimeout(1)
    begin, bound = time.monotonic(), None
    sent = 0
    while (now := (time.monotonic() - begin) * SCALE) < 780:
        if bound is None or now - bound >= 500:
            assert one.channel_bind(0x4000, *peer.getsockname()).message_class == turn.SUCCESS
            assert one.refresh(600).message_class == turn.SUCCESS
            bound = now
        peer.sendto(b"%d" % sent, relayed)
        assert one.receive_any() == ("channel", 0x4000, b"%d" % sent), f"lost after {now:.0f} s"
        sent += 1
        time.sleep(0.05)
    assert sent > 50


def test_allocation_ends_unrefreshed(pair, relay):
    one, peer, relayed = pair
    one.create_permission(peer.getsockname()[0])
    time.sleep(620 / SCALE)
    assert one.create_permission(peer.getsockname()[0]).error == 437


def test_refresh_keeps_and_zero_ends_it(pair, relay):
    one, peer, relayed = pair
    for _ in range(3):
        time.sleep(400 / SCALE)
        assert one.refresh(600).message_class == turn.SUCCESS
    before = relay.total("turnpike_allocations")
    assert one.refresh(0).message_class == turn.SUCCESS
    assert one.refresh(600).error == 437
    assert relay.total("turnpike_allocations") == before - 1
