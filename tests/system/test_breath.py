"""Requests and data in one breath, as libjuice and baresip send them: the data don't wait for the answer."""

import os
import socket
import struct

import pytest

import turn_client as turn
from turn_client import TurnClient

TIMES, DATA = 40, 4  # as many of a five-tuple may wait


@pytest.fixture(scope="module")
def relay(lab):
    relay = lab.start_relay()
    yield relay
    assert relay.stop() == 0, relay.output()


def arrived(peer, most):
    """How many of the numbers, which must come in order."""
    came = []
    try:
        while len(came) < most:
            came.append(int(peer.recv(100)))
    except socket.timeout:
        pass
    assert came == sorted(set(came)), came
    return len(came)


@pytest.mark.parametrize("kind", ["channel", "permission"])
def test_data_behind_a_request_is_not_lost(lab, relay, kind):
    sent = got = 0
    with lab.peer.udp(lab.PEER4) as peer:
        peer.settimeout(0.5)
        for _ in range(TIMES):
            with lab.client.udp(lab.CLIENT4) as sock:
                one = TurnClient(sock, (lab.SERVER4, 3478))
                one.allocate()
                identity = os.urandom(12)
                address = turn.xor_address(*peer.getsockname(), identity)
                if kind == "channel":
                    request = turn.build(
                        turn.CHANNEL_BIND,
                        turn.REQUEST,
                        identity,
                        [(turn.CHANNEL_NUMBER, struct.pack("!HH", 0x4000, 0)), (turn.XOR_PEER_ADDRESS, address)]
                        + one.credentials(),
                        one.key,
                    )
                else:
                    request = turn.build(
                        turn.CREATE_PERMISSION,
                        turn.REQUEST,
                        identity,
                        [(turn.XOR_PEER_ADDRESS, address)] + one.credentials(),
                        one.key,
                    )
                one.send_raw(request)
                for number in range(DATA):
                    if kind == "channel":
                        one.channel_data(0x4000, b"%d" % number)
                    else:
                        one.send(*peer.getsockname(), b"%d" % number)
                assert one.receive(identity).message_class == turn.SUCCESS
                got += arrived(peer, DATA)
                sent += DATA
                one.refresh(0)
    dropped = relay.total(
        "turnpike_dropped_packets_total", reason="no_channel" if kind == "channel" else "no_permission"
    )
    print(f"{kind}: {sent - got} of {sent} lost, {dropped:.0f} dropped")
    # None, but where the engine is off its core for longer than data wait.
    assert got >= sent * 0.9, f"{sent - got} of {sent} lost"
