"""One node, listeners with different flags: real clients at each, and what a listener doesn't do is dropped by name."""

import os

import pytest

import turn_client as turn
from lab import wait_for
from test_uclient import uclient
from turn_client import TurnClient

BOTH, STUN_ONLY, TURN_ONLY = 3478, 3479, 5349
FLAGS = {BOTH: "", STUN_ONLY: "stun_only = true", TURN_ONLY: "turn_only = true"}


@pytest.fixture(scope="module", params=["af_xdp", "af_packet"])
def relay(request, lab, tmp_path_factory):
    config = tmp_path_factory.mktemp("listeners") / "turnpike.toml"
    config.write_text(
        "\n".join(
            f'[[listener]]\naddress = "{address}:{port}"\n{flag}'
            for address in (lab.SERVER4, f"[{lab.SERVER6}]")
            for port, flag in FLAGS.items()
        )
    )
    relay = lab.start_relay("--config", config, driver=request.param, listen=[])
    peer = lab.peer.start("turnutils_peer", "-L", lab.PEER4, "-p", "3480")
    wait_for(lambda: ":3480" in lab.peer.exec("ss", "-Huln").stdout, 5, "turnutils_peer listening")
    yield relay
    assert relay.stop() == 0, relay.output()
    peer.kill()


def ask(lab, server, method):
    """The answer to a request without credentials."""
    with lab.client.udp(lab.CLIENT6 if ":" in server[0] else lab.CLIENT4) as sock:
        return TurnClient(sock, server).request(method, authenticate=False)


def is_dropped(lab, relay, server, method):
    before = relay.total("turnpike_dropped_packets_total", reason="unknown_method")
    with lab.client.udp(lab.CLIENT6 if ":" in server[0] else lab.CLIENT4) as sock:
        sock.sendto(turn.build(method, turn.REQUEST, os.urandom(12), []), server)
        wait_for(
            lambda: relay.total("turnpike_dropped_packets_total", reason="unknown_method") == before + 1,
            5,
            "a request of a method that is none here counted",
        )
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(2000)


@pytest.mark.parametrize("port", [BOTH, STUN_ONLY])
def test_binding_is_answered(lab, relay, port):
    output = lab.client.exec("turnutils_stunclient", "-p", port, lab.SERVER4, check=False).stdout
    assert f"UDP reflexive addr: {lab.CLIENT4}" in output, output
    assert ask(lab, (lab.SERVER6, port), turn.BINDING).address(turn.XOR_MAPPED_ADDRESS)[0] == lab.CLIENT6


@pytest.mark.parametrize("port", [BOTH, TURN_ONLY])
def test_turn_is_done(lab, relay, port):
    uclient(lab, "-p", str(port))
    uclient(lab, "-p", str(port), "-s")
    assert ask(lab, (lab.SERVER6, port), turn.ALLOCATE).error == 401


def test_stun_only_does_no_turn(lab, relay):
    for address in (lab.SERVER4, lab.SERVER6):
        for method in (turn.ALLOCATE, turn.REFRESH, turn.CREATE_PERMISSION, turn.CHANNEL_BIND):
            is_dropped(lab, relay, (address, STUN_ONLY), method)


def test_turn_only_answers_no_binding(lab, relay):
    for address in (lab.SERVER4, lab.SERVER6):
        is_dropped(lab, relay, (address, TURN_ONLY), turn.BINDING)


def test_an_allocation_is_of_the_listener_that_made_it(lab, relay):
    with lab.client.udp(lab.CLIENT4) as sock, lab.peer.udp(lab.PEER4) as peer:
        one = TurnClient(sock, (lab.SERVER4, TURN_ONLY))
        assert one.allocate().message_class == turn.SUCCESS
        assert one.channel_bind(0x4000, *peer.getsockname()).message_class == turn.SUCCESS
        one.channel_data(0x4000, b"there")
        data, relayed = peer.recvfrom(2000)
        assert data == b"there"
        peer.sendto(b"back", relayed)
        assert sock.recvfrom(2000) == (b"\x40\x00\x00\x04back", (lab.SERVER4, TURN_ONLY))
        before = relay.total("turnpike_dropped_packets_total", reason="no_allocation")
        for port in (BOTH, STUN_ONLY):
            one.server = (lab.SERVER4, port)
            one.channel_data(0x4000, b"astray")
        wait_for(
            lambda: relay.total("turnpike_dropped_packets_total", reason="no_allocation") == before + 2,
            5,
            "data at other listeners counted",
        )
        one.server = (lab.SERVER4, TURN_ONLY)
        assert one.refresh(0).message_class == turn.SUCCESS
