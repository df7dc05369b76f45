"""One node, two realms: the same name is another user at each listener, whose credentials, nonces and peers are its own."""

import os
import struct

import pytest

import turn_client as turn
from lab import wait_for
from turn_client import TurnClient

ORG, NET = 3478, 3479
REALMS = {ORG: ("example.org", "secret"), NET: ("example.net", "another")}


@pytest.fixture(scope="module", params=["af_xdp", "af_packet"])
def relay(request, lab, tmp_path_factory):
    config = tmp_path_factory.mktemp("realms") / "turnpike.toml"
    listeners = "\n".join(
        f'[[listener]]\naddress = "{address}:{port}"\n' + (f'realm = "{REALMS[port][0]}"\n' if port == NET else "")
        for address in (lab.SERVER4, f"[{lab.SERVER6}]")
        for port in REALMS
    )
    # What the flags allow, they allow in the node's own realm.
    config.write_text(
        f"""
{listeners}
[[other_realm]]
name = "example.net"
users = [{{ name = "alice", password = "another" }}, {{ name = "md5", md5_key = "{"0f" * 16}" }}]
peers = {{ allow = ["fd20::/16"] }}
"""
    )
    relay = lab.start_relay("--config", config, driver=request.param, listen=[])
    # An interface that got its XDP program is down for a moment, and its neighbours must be found again.
    for host in (lab.CLIENT4, lab.CLIENT6, lab.PEER4, lab.PEER6):
        wait_for(lambda: lab.relay.exec("ping", "-c1", "-W1", host, check=False).returncode == 0, 10, f"{host} reached")
    yield relay
    assert relay.stop() == 0, relay.output()


def client(lab, sock, port, realm_of=None, **options):
    """Comes to the listener of `port` with the credentials of `realm_of`'s, by default its own."""
    realm, password = REALMS[realm_of or port]
    server = lab.SERVER6 if sock.family.name == "AF_INET6" else lab.SERVER4
    return TurnClient(sock, (server, port), realm=realm, password=password, **options)


@pytest.mark.parametrize("port", REALMS)
def test_each_lets_its_own_users_in_and_relays(lab, relay, port):
    with lab.client.udp(lab.CLIENT6) as sock, lab.peer.udp(lab.PEER6) as peer:
        one = client(lab, sock, port, userhash=True)
        family = (turn.REQUESTED_ADDRESS_FAMILY, b"\x02\0\0\0")
        assert one.allocate(family).message_class == turn.SUCCESS
        assert one.channel_bind(0x4000, *peer.getsockname()[:2]).message_class == turn.SUCCESS
        one.channel_data(0x4000, b"there")
        data, relayed = peer.recvfrom(2000)
        assert data == b"there"
        peer.sendto(b"back", relayed)
        assert sock.recvfrom(2000)[0] == b"\x40\x00\x00\x04back"
        assert one.refresh(0).message_class == turn.SUCCESS


@pytest.mark.parametrize("port, other", [(ORG, NET), (NET, ORG)])
def test_credentials_of_the_other_are_of_no_worth(lab, relay, port, other):
    with lab.client.udp(lab.CLIENT4) as sock:
        before = relay.total("turnpike_unauthorized_total", reason="wrong_realm")
        answer = client(lab, sock, port, realm_of=other).allocate()
        assert answer.error == 401
        assert answer.get(turn.REALM) == REALMS[port][0].encode(), "the listener's own"
        assert relay.total("turnpike_unauthorized_total", reason="wrong_realm") > before
        # The right realm with the other's password.
        guess = client(lab, sock, port)
        guess.password = REALMS[other][1]
        before = relay.total("turnpike_unauthorized_total", reason="wrong_key")
        assert guess.allocate().error == 401
        assert relay.total("turnpike_unauthorized_total", reason="wrong_key") > before


@pytest.mark.parametrize("port, other", [(ORG, NET), (NET, ORG)])
def test_a_nonce_of_the_other_is_none(lab, relay, port, other):
    with lab.client.udp(lab.CLIENT4) as sock:
        elsewhere = client(lab, sock, other)
        elsewhere.nonce = elsewhere.request(turn.ALLOCATE, authenticate=False).get(turn.NONCE)
        one = client(lab, sock, port)
        identity = os.urandom(12)
        one.nonce = elsewhere.nonce
        transport = [(turn.REQUESTED_TRANSPORT, struct.pack("!I", 17 << 24))]
        answer = one.exchange(turn.build(turn.ALLOCATE, turn.REQUEST, identity, transport + one.credentials(), one.key))
        assert answer.error == 438
        assert answer.get(turn.REALM) == REALMS[port][0].encode()
        assert one.allocate().message_class == turn.SUCCESS, "with the nonce of its own listener"
        assert one.refresh(0).message_class == turn.SUCCESS


def test_each_offers_what_its_own_users_have(lab, relay):
    with lab.client.udp(lab.CLIENT4) as sock:
        lists = {
            port: client(lab, sock, port).request(turn.ALLOCATE, authenticate=False).get(turn.PASSWORD_ALGORITHMS)
            for port in REALMS
        }
    assert lists == {ORG: struct.pack("!HHHH", 2, 0, 1, 0), NET: struct.pack("!HH", 1, 0)}


def test_a_peer_is_refused_in_one_realm_alone(lab, relay):
    with lab.client.udp(lab.CLIENT4) as first, lab.client.udp(lab.CLIENT4) as second:
        one, other = client(lab, first, ORG), client(lab, second, NET)
        for each in (one, other):
            assert each.allocate().message_class == turn.SUCCESS
        assert one.create_permission(lab.PEER4).message_class == turn.SUCCESS
        assert one.channel_bind(0x4000, lab.PEER4, 4000).message_class == turn.SUCCESS
        assert other.create_permission(lab.PEER4).error == 403
        assert other.channel_bind(0x4000, lab.PEER4, 4000).error == 403
        for realm, _ in REALMS.values():
            assert relay.total("turnpike_realm_allocations", realm=realm) == 1
        for each in (one, other):
            assert each.refresh(0).message_class == turn.SUCCESS
