"""What other servers were attacked by, tried on this one; each test bears the advisory's name. What concerns streams, mobility,
OAuth, databases and management comes with them."""

import contextlib
import ipaddress
import os
import socket
import struct

import pytest

import turn_client as turn
from turn_client import TurnClient


@pytest.fixture(scope="module")
def relay(lab):
    running = lab.start_relay()
    yield running
    running.kill()


@pytest.fixture
def client(lab, relay):
    with contextlib.ExitStack() as stack:

        def make(**options):
            sock = lab.client.udp(lab.CLIENT4)
            made = TurnClient(sock, (lab.SERVER4, 3478), **options)
            stack.callback(sock.close)
            stack.callback(lambda: made.nonce and made.refresh(0))
            return made

        yield make


def test_cve_2018_4056_no_port_of_management_is_open(lab, relay):
    with lab.relay.inside():
        for port in (5766, 8080, 8081, 9641):
            with socket.socket() as sock:
                reached = sock.connect_ex((lab.SERVER4, port)) == 0
            assert not reached, f"TCP port {port} is open to strangers"


def test_cve_2020_4067_padding_is_zero(client):
    one = client()
    answers = [one.request(turn.ALLOCATE, [(turn.REQUESTED_TRANSPORT, bytes([17, 0, 0, 0]))], authenticate=False)]
    answers += [one.allocate(), one.create_permission("10.0.0.1"), one.refresh(0), one.refresh()]
    for answer in answers:
        at = 20
        while at < len(answer.raw):
            size = struct.unpack("!H", answer.raw[at + 2 : at + 4])[0]
            padding = answer.raw[at + 4 + size : at + 4 + (size + 3 & ~3)]
            assert padding == bytes(len(padding))
            at += 4 + (size + 3 & ~3)


def refused_everywhere(one, address):
    """By CreatePermission and ChannelBind; and Send to it passes nothing."""
    return (one.create_permission(address).error, one.channel_bind(0x4000, address, 80).error) == (403, 403)


@pytest.fixture
def both(client):
    one = client()
    assert one.allocate((turn.ADDITIONAL_ADDRESS_FAMILY, bytes([2, 0, 0, 0]))).error is None
    return one


@pytest.mark.parametrize("address", ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "::", "::1"])
def test_cve_2020_26262_loopback_and_nothing_are_no_peers(both, address):
    assert refused_everywhere(both, address)


def disguises(address):
    """Every way in which IPv6 writes an IPv4 address."""
    v4 = int(ipaddress.IPv4Address(address))
    teredo = 0x20010000 << 96 | 0xC0000201 << 64 | 0x0000 << 48 | 0xD431 << 32 | (v4 ^ 0xFFFFFFFF)
    for value in (
        0xFFFF << 32 | v4,
        v4,
        0xFFFF << 48 | v4,
        0x2002 << 112 | v4 << 80,
        0x0064FF9B << 96 | v4,
        0x0064FF9B0001 << 80 | v4,
        teredo,
        0x20010DB8 << 96 | 0x00005EFE << 32 | v4,
    ):
        yield str(ipaddress.IPv6Address(value))


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "10.0.0.1", "169.254.169.254", "224.0.0.1"])
def test_cve_2026_27624_and_53450_no_disguise_helps(both, address):
    passed = [written for written in disguises(address) if not refused_everywhere(both, written)]
    assert passed == []


@pytest.mark.parametrize(
    "inside, outside",
    [
        ("fc00::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::"),
        ("2001:db8::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
        ("172.16.0.0", "172.15.255.255"),
        ("172.31.255.255", "172.32.0.0"),
        ("100.64.0.0", "100.63.255.255"),
        ("100.127.255.255", "100.128.0.0"),
    ],
)
def test_6c13608c_ranges_end_where_they_end(both, inside, outside):
    assert both.create_permission(inside).error == 403
    # fbff:… and fe00:: are no global unicast addresses: refused for that.
    other = 403 if ipaddress.ip_address(outside).version == 6 and not outside.startswith("2") else None
    assert both.create_permission(outside).error == other


def test_cve_2021_21382_the_relays_own_services_are_no_peers(lab, relay, both):
    """The host's own addresses are, by UDP, where the rules allow them; the relay's listeners never are."""
    for address in ("127.0.0.1", "::1"):
        assert refused_everywhere(both, address)
    binding = turn.build(turn.BINDING, turn.REQUEST, bytes(12), [])
    before = relay.total("turnpike_own_host_lost_total", reason="own_service")
    for address in (lab.SERVER4, lab.SERVER6):
        assert both.create_permission(address).message_class == turn.SUCCESS
        both.send(address, 3478, binding)
    both.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        both.receive_any()
    assert relay.total("turnpike_own_host_lost_total", reason="own_service") == before + 2


def test_cve_2025_69217_nonces_and_ports_are_not_told_beforehand(client):
    nonces, ports = set(), []
    for _ in range(40):
        one = client()
        ports.append(one.allocate().address(turn.XOR_RELAYED_ADDRESS)[1])
        nonces.add(one.nonce)
    assert len(nonces) == 40
    steps = [abs(b - a) for a, b in zip(ports, ports[1:])]
    assert len(set(ports)) == 40 and sum(step < 512 for step in steps) < 10, ports
    assert max(ports) - min(ports) > 8192


def test_cve_2026_40613_attributes_of_odd_sizes_at_odd_places(client, lab, relay):
    one = client()
    one.allocate()
    for size in range(1, 9):
        extra = [(0xC000 + size, bytes(size)) for size in range(1, size + 1)]
        assert one.refresh(600, *extra).error is None
    peer = lab.peer.udp(lab.PEER4)
    one.create_permission(lab.PEER4)
    for size in range(0, 9):
        one.send(*peer.getsockname(), bytes(size))
        assert peer.recvfrom(100)[0] == bytes(size)
    peer.close()


@pytest.mark.parametrize(
    "name",
    ["%n%n%n%s%d", "a' OR '1'='1", 'x"; DROP TABLE users', "\n\r\x00", "../../etc/passwd", "é" * 250],
    ids=range(6),
)
def test_ghsa_4g7c_names_are_only_names(client, relay, name):
    assert client(username=name).allocate().error == 401
    assert client(realm=name[:100]).allocate().error in (401, 438)
    assert relay.get("/healthz")[0] == 200
    assert name not in relay.output()


def test_ab762f33_what_stands_behind_integrity_counts_for_nothing(client, lab):
    one = client()
    one.allocate()
    lifetime = turn.attribute(turn.LIFETIME, struct.pack("!I", 0))
    transaction = os.urandom(12)
    raw = turn.build(turn.REFRESH, turn.REQUEST, transaction, one.credentials(), one.key, fingerprint=False)
    raw = raw[:2] + struct.pack("!H", len(raw) - 20 + len(lifetime)) + raw[4:] + lifetime
    assert one.exchange(raw).error is None
    assert one.refresh().error is None, "it was deleted by what nobody has signed"


def test_ghsa_847g_even_ports_return(client, relay):
    one = client()
    for _ in range(200):
        assert one.allocate((turn.EVEN_PORT, b"\0")).address(turn.XOR_RELAYED_ADDRESS)[1] % 2 == 0
        assert one.refresh(0).error is None
    assert relay.total("turnpike_allocations") == 0


def test_1984_channel_data_over_udp_has_no_padding(client, lab):
    one = client()
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    peer = lab.peer.udp(lab.PEER4)
    one.channel_bind(0x4000, *peer.getsockname())
    for size in range(1, 9):
        peer.sendto(b"x" * size, relayed)
        assert one.sock.recv(100) == struct.pack("!HH", 0x4000, size) + b"x" * size
    peer.close()


def test_2016_of_two_peers_in_one_request_the_first_is_judged_and_used(client, lab):
    one = client()
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    peer = lab.peer.udp(lab.PEER4)

    def bind(first, second):
        return one.request(
            turn.CHANNEL_BIND,
            lambda t: [
                (turn.CHANNEL_NUMBER, struct.pack("!HH", 0x4000, 0)),
                (turn.XOR_PEER_ADDRESS, turn.xor_address(*first, t)),
                (turn.XOR_PEER_ADDRESS, turn.xor_address(*second, t)),
            ],
        ).error

    allowed, forbidden = peer.getsockname(), ("127.0.0.1", 80)
    assert bind(forbidden, allowed) == 403
    assert bind(allowed, forbidden) is None
    peer.sendto(b"hello", relayed)
    assert one.receive_any() == ("channel", 0x4000, b"hello")
    peer.close()


def test_1932_permissions_have_a_limit(client, relay):
    one = client()
    one.allocate()
    answers = [one.create_permission(*(f"11.{i}.{j}.1" for j in range(16))).error for i in range(20)]
    assert answers == [None] * 16 + [508] * 4, "256 an allocation"
    assert one.refresh().error is None


def test_turn_rs_lifetimes_channels_and_second_allocations(client, lab):
    one = client()
    answer = one.allocate((turn.LIFETIME, struct.pack("!I", 0xFFFFFFFF)))
    assert struct.unpack("!I", answer.get(turn.LIFETIME))[0] == 3600
    assert one.allocate().error == 437
    for number in (0x3FFF, 0x8000, 0xFFFF):
        assert one.channel_bind(number, lab.PEER4, 7000).error == 400


def test_stunner_memoryleak_lengths_beyond_the_datagram(client, lab, relay):
    one = client()
    one.allocate()
    before = relay.total("turnpike_dropped_packets_total", reason="bad_stun")
    for size in (8, 64, 0xFFFF):
        raw = bytearray(
            turn.build(turn.REFRESH, turn.REQUEST, os.urandom(12), [(turn.SOFTWARE, b"abcd")], fingerprint=False)
        )
        raw[22:24] = struct.pack("!H", size)
        one.send_raw(bytes(raw))
        with pytest.raises(socket.timeout):
            one.sock.recv(2000)
    assert relay.total("turnpike_dropped_packets_total", reason="bad_stun") == before + 3
