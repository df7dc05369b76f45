"""What coturn's client does not say, by a raw client: credentials of RFC 8489, dual allocations, ICMP, expiry."""

import os
import socket
import struct

import pytest

import turn_client as turn
from turn_client import TurnClient


@pytest.fixture(scope="module")
def relay(lab):
    relay = lab.start_relay(driver="af_xdp")
    yield relay
    assert relay.stop() == 0, relay.output()


@pytest.fixture
def client(lab, relay):
    made = []

    def make(address=lab.CLIENT4, **options):
        server = (lab.SERVER6 if ":" in address else lab.SERVER4, 3478)
        made.append(TurnClient(lab.client.udp(address), server, **options))
        return made[-1]

    yield make
    for one in made:
        if one.nonce is not None:
            one.refresh(0)
        one.sock.close()


@pytest.fixture
def peer(lab):
    sock = lab.peer.udp(lab.PEER4)
    yield sock
    sock.close()


def test_challenge_offers_rfc8489(client):
    one = client()
    answer = one.allocate(authenticate=False)
    assert answer.error == 401
    assert answer.get(turn.REALM) == b"example.org"
    assert answer.get(turn.NONCE).startswith(b"obMatJos2AAAD")
    assert answer.get(turn.PASSWORD_ALGORITHMS) is not None
    assert answer.get(turn.MESSAGE_INTEGRITY) is None
    assert answer.get(turn.FINGERPRINT) is not None


@pytest.mark.parametrize(
    "options", [{}, {"sha256": True}, {"userhash": True}, {"sha256": True, "userhash": True}], ids=str
)
def test_each_kind_of_credentials(client, options):
    one = client(**options)
    answer = one.allocate()
    assert answer.message_class == turn.SUCCESS, answer.error
    assert answer.integrity_holds(one.key, one.sha256)
    assert (answer.get(turn.MESSAGE_INTEGRITY) is None) == one.sha256


def test_wrong_password_and_unknown_user_look_alike(client):
    wrong = client(password="guess").allocate()
    unknown = client(username="mallory").allocate()
    assert wrong.error == unknown.error == 401
    assert [k for k, _ in wrong.attributes] == [k for k, _ in unknown.attributes]


def test_channel_data_both_ways(client, peer, lab):
    one = client()
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    assert relayed[0] == lab.RELAY4
    assert one.channel_bind(0x4000, *peer.getsockname()).message_class == turn.SUCCESS
    for size in (0, 1, 2, 3, 160, 1400):
        payload = os.urandom(size)
        one.channel_data(0x4000, payload)
        data, source = peer.recvfrom(2000)
        assert data == payload and source == relayed
        peer.sendto(payload, relayed)
        assert one.receive_any() == ("channel", 0x4000, payload)


def test_channel_data_the_instant_the_response_arrives(client, peer):
    one = client()
    one.allocate()
    for number in range(0x4000, 0x4040):
        assert one.channel_bind(number, peer.getsockname()[0], 20000 + number).message_class == turn.SUCCESS
        one.channel_data(number, b"at once")
    with_port = one.channel_bind(0x4040, *peer.getsockname())
    one.channel_data(0x4040, b"at once")
    assert with_port.message_class == turn.SUCCESS and peer.recv(100) == b"at once"


def test_send_and_data_indications(client, peer):
    one = client()
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    assert one.create_permission(peer.getsockname()[0]).message_class == turn.SUCCESS
    for size in (0, 1, 5, 1200):
        payload = os.urandom(size)
        one.send(*peer.getsockname(), payload)
        data, source = peer.recvfrom(2000)
        assert data == payload and source == relayed
        peer.sendto(payload, relayed)
        message = one.receive_any()
        assert message.method == turn.DATA and message.get(turn.DATA_ATTRIBUTE) == payload
        assert message.address(turn.XOR_PEER_ADDRESS) == peer.getsockname()


def test_no_permission_no_packet(client, peer, relay):
    one = client()
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    before = relay.total("turnpike_dropped_packets_total", reason="no_permission")
    peer.sendto(b"uninvited", relayed)
    one.send(*peer.getsockname(), b"unpermitted")
    with pytest.raises(socket.timeout):
        one.receive_any()
    with pytest.raises(socket.timeout):
        peer.recv(100)
    assert relay.total("turnpike_dropped_packets_total", reason="no_permission") == before + 2


def test_dual_allocation(client, lab):
    one = client()
    answer = one.allocate((turn.ADDITIONAL_ADDRESS_FAMILY, bytes([2, 0, 0, 0])))
    relayed = [turn.read_xor_address(value, answer.transaction)[0] for value in answer.all(turn.XOR_RELAYED_ADDRESS)]
    assert sorted(relayed) == sorted([lab.RELAY4, lab.RELAY6])
    peer = lab.peer.udp(lab.PEER6)
    one.create_permission(lab.PEER6, lab.PEER4)
    one.send(*peer.getsockname()[:2], b"over six")
    assert peer.recv(100) == b"over six"


def test_retransmitted_allocate_is_answered_alike(client):
    one = client()
    first = one.allocate()
    again = one.exchange(one.last_request)
    assert again.message_class == turn.SUCCESS
    assert again.get(turn.XOR_RELAYED_ADDRESS) == first.get(turn.XOR_RELAYED_ADDRESS)
    assert one.allocate().error == 437


@pytest.mark.parametrize(
    "attributes, code",
    [
        ([], 400),
        ([(turn.REQUESTED_TRANSPORT, bytes([6, 0, 0, 0]))], 442),
        ([(turn.REQUESTED_TRANSPORT, bytes([17, 0, 0, 0])), (turn.REQUESTED_ADDRESS_FAMILY, bytes([9, 0, 0, 0]))], 440),
        ([(turn.REQUESTED_TRANSPORT, bytes([17, 0, 0, 0])), (0x7001, b"what")], 420),
        ([(turn.REQUESTED_TRANSPORT, bytes([17, 0, 0, 0])), (turn.RESERVATION_TOKEN, bytes(8))], 508),
        (
            [
                (turn.REQUESTED_TRANSPORT, bytes([17, 0, 0, 0])),
                (turn.RESERVATION_TOKEN, bytes(8)),
                (turn.EVEN_PORT, b"\x00"),
            ],
            400,
        ),
    ],
    ids=str,
)
def test_refused_allocate(client, attributes, code):
    one = client()
    answer = one.request(turn.ALLOCATE, attributes)
    assert answer.error == code
    assert answer.integrity_holds(one.key)
    if code == 420:
        assert answer.get(turn.UNKNOWN_ATTRIBUTES) == struct.pack("!H", 0x7001)


def test_requests_without_allocation_get_437(client, lab):
    one = client()
    assert one.refresh(600).error == 437
    assert one.create_permission(lab.PEER4).error == 437
    assert one.channel_bind(0x4000, lab.PEER4, 9).error == 437


def test_channel_bind_conflicts(client, lab):
    one = client()
    one.allocate()
    assert one.channel_bind(0x4000, lab.PEER4, 9000).message_class == turn.SUCCESS
    assert one.channel_bind(0x4000, lab.PEER4, 9000).message_class == turn.SUCCESS
    assert one.channel_bind(0x4000, lab.PEER4, 9001).error == 400
    assert one.channel_bind(0x4001, lab.PEER4, 9000).error == 400
    assert one.channel_bind(0x8000, lab.PEER4, 9002).error == 400
    assert one.channel_bind(0x4002, lab.PEER6, 9000).error == 443


def test_attributes_after_integrity_are_ignored(client, lab):
    one = client()
    one.allocate()
    raw = turn.build(turn.REFRESH, turn.REQUEST, os.urandom(12), one.credentials(), one.key, fingerprint=False)
    raw += turn.attribute(turn.LIFETIME, bytes(4))
    raw = raw[:2] + struct.pack("!H", len(raw) - 20) + raw[4:]
    assert one.exchange(raw).message_class == turn.SUCCESS
    assert one.create_permission(lab.PEER4).message_class == turn.SUCCESS


def test_even_port_with_reservation(client):
    one, two = client(), client()
    answer = one.allocate((turn.EVEN_PORT, b"\x80"))
    port, token = answer.address(turn.XOR_RELAYED_ADDRESS)[1], answer.get(turn.RESERVATION_TOKEN)
    assert port % 2 == 0 and len(token) == 8
    follower = two.allocate((turn.RESERVATION_TOKEN, token))
    assert follower.address(turn.XOR_RELAYED_ADDRESS)[1] == port + 1


def test_hairpin_between_two_clients(client):
    one, two = client(), client()
    face_one = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    face_two = two.allocate().address(turn.XOR_RELAYED_ADDRESS)
    assert one.channel_bind(0x4000, *face_two).message_class == turn.SUCCESS
    assert two.create_permission(face_one[0]).message_class == turn.SUCCESS
    one.channel_data(0x4000, b"round the corner")
    message = two.receive_any()
    assert message.get(turn.DATA_ATTRIBUTE) == b"round the corner"
    assert message.address(turn.XOR_PEER_ADDRESS) == face_one
    two.send(*face_one, b"and back")
    assert one.receive_any() == ("channel", 0x4000, b"and back")


def test_icmp_from_the_peer_is_passed_on(client, lab):
    one = client()
    one.allocate()
    one.create_permission(lab.PEER4)
    one.send(lab.PEER4, 9, b"nobody listens there")
    message = one.receive_any()
    assert message.method == turn.DATA and message.get(turn.DATA_ATTRIBUTE) is None
    assert message.address(turn.XOR_PEER_ADDRESS) == (lab.PEER4, 9)
    assert message.get(turn.ICMP) == bytes([0, 0, 3, 3, 0, 0, 0, 0])


REFUSED = [
    "0.0.0.1",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
]
REFUSED6 = [
    "::",
    "::1",
    "64:ff9b::7f00:1",
    "100::1",
    "2001::1",
    "2002:7f00:1::",
    "fc00::1",
    "fe80::1",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fec0::1",
    "64:ff9b:1::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
]


@pytest.mark.parametrize("address", REFUSED + REFUSED6)
def test_refused_peer(client, relay, address):
    six = ":" in address
    one = client()
    family = [(turn.REQUESTED_ADDRESS_FAMILY, bytes([2, 0, 0, 0]))] if six else []
    assert one.allocate(*family).message_class == turn.SUCCESS
    assert one.create_permission(address).error == 403
    assert one.channel_bind(0x4000, address, 80).error == 403
    before = relay.total("turnpike_dropped_packets_total", reason="no_permission")
    one.send(address, 80, b"let me in")
    one.refresh()
    assert relay.total("turnpike_dropped_packets_total", reason="no_permission") == before + 1


def test_listeners_are_no_peers(client, lab):
    """Their address is one of the relay's host, and may be a peer of it; what is sent to a listener arrives nowhere."""
    one = client()
    one.allocate()
    assert one.create_permission(lab.SERVER4).error is None
    one.send(lab.SERVER4, 3478, turn.build(turn.BINDING, turn.REQUEST, bytes(12), []))
    one.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        one.receive_any()


def test_malformed_messages_are_dropped_by_name(client, relay):
    one = client()
    before = relay.metrics()
    one.send_raw(b"\x00\x01\x00\x08" + struct.pack("!I", turn.COOKIE) + bytes(12) + b"\x00\x06\x00\x40abcd")
    one.send_raw(b"\r\n\r\n")
    one.send_raw(b"\xff" * 30)
    one.send_raw(struct.pack("!HH", 0x4000, 100) + b"short")
    assert one.request(turn.BINDING, authenticate=False).message_class == turn.SUCCESS
    after = relay.metrics()
    for reason in ("bad_stun", "keepalive", "not_stun", "bad_channel_data"):
        grown = sum(
            after[name] - before.get(name, 0)
            for name in after
            if name.startswith("turnpike_dropped_packets_total") and f'reason="{reason}"' in name
        )
        assert grown == 1, reason
