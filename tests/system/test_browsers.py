"""Calls of whole browsers, which payload rules must leave alone: audio, video and data through the relay alone."""

import contextlib
import socket
import struct
import threading
import time
from urllib.parse import urlencode

import pytest

import turn_client as turn
from browser import BROWSERS, call
from call_rules import matched, nothing_is_refused, strict_rules
from lab import wait_for
from turn_client import Message, TurnClient

CALL_S = 10
MOST_CHANNELS = 256  # of an allocation


@pytest.fixture
def start_relay(lab, tmp_path):
    with contextlib.ExitStack() as stack:

        def start(packets):
            relay = lab.start_relay(*strict_rules(tmp_path, packets))
            stack.callback(relay.kill)
            return relay

        yield start


@pytest.mark.parametrize("packets", [8, pytest.param(1, marks=pytest.mark.twice)])
@pytest.mark.parametrize("name", BROWSERS)
def test_no_rule_touches_a_browsers_call(lab, start_relay, name, packets):
    relay = start_relay(packets)
    with bodies_sent(lab.client) as bodies:
        talk(lab, relay, name)
    assert nothing_is_refused(relay)["stun"] > 0
    if packets == 8:
        any_packet_may_be_a_flows_first(lab, relay, bodies)


def talk(lab, relay, name):
    """A call of CALL_S, or longer where the machine is slow. Fails unless both ends hear and see, by the relay alone."""
    query = urlencode({"turn": f"turn:{lab.SERVER4}:3478", "user": relay.USER, "password": relay.PASSWORD})
    with call(lab.client, name, query) as page:
        try:
            wait_for(lambda: page.report.get("a", {}).get("state") == "connected", 60, "a connection")
            until = time.monotonic() + CALL_S
            wait_for(lambda: time.monotonic() > until and both_hear_and_see(page), 25, "a call that goes on")
            for end in page.report.values():
                assert end["state"] == "connected" and end["pair"] == ["relay", "relay"]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{page.report}\n{matched(relay)}\n{page.output()}") from None


def both_hear_and_see(page):
    assert "error" not in page.report
    return all(end["frames"] >= 10 and end["audio"] >= 100 and end["messages"] >= 100 for end in page.report.values())


@contextlib.contextmanager
def bodies_sent(host):
    """A list that gets what clients on `host` send to their peers."""
    bodies, ended, turn_port = [], threading.Event(), struct.pack("!H", 3478)
    with host.inside():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
    link.bind(("eth0", 3))
    link.settimeout(0.2)

    def add(payload):
        first, size = struct.unpack("!HH", payload[:4])
        if 0x4000 <= first < 0x8000:
            bodies.append(payload[4 : 4 + size])
        elif first == turn.message_type(turn.SEND, turn.INDICATION):
            bodies.append(Message(payload).get(turn.DATA_ATTRIBUTE))

    def listen():
        while not ended.is_set():
            with contextlib.suppress(socket.timeout):
                frame, (_, protocol, kind, *_) = link.recvfrom(2000)
                if (kind, protocol, frame[23], frame[36:38]) == (socket.PACKET_OUTGOING, 0x0800, 17, turn_port):
                    add(frame[42:])

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield bodies
    finally:
        ended.set()
        listener.join()
        link.close()


def any_packet_may_be_a_flows_first(lab, relay, bodies):
    """Sends them again, eight on each of as many channels as that takes: so rules look into every one."""
    before = sum(matched(relay).values())
    assert len(bodies) > 1000
    for at in range(0, len(bodies), 8 * MOST_CHANNELS):
        client = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
        assert client.allocate().error is None
        of_one_allocation = bodies[at : at + 8 * MOST_CHANNELS]
        for i in range(0, len(of_one_allocation), 8):
            channel = 0x4000 + i // 8
            with lab.peer.udp(lab.PEER4, channel) as peer:  # a port of its own
                assert client.channel_bind(channel, *peer.getsockname()).error is None
                some = of_one_allocation[i : i + 8]
                for body in some:
                    client.channel_data(channel, body)
                try:
                    assert [peer.recv(2000) for _ in some] == some
                except socket.timeout:
                    raise AssertionError(f"not all of {[body.hex() for body in some]} pass: {matched(relay)}") from None
    assert sum(nothing_is_refused(relay).values()) == before + len(bodies)
