"""Clients and peers on the relay's own host, as where a media server runs beside it: by kernel sockets."""

import contextlib
import os
import re
import signal
import threading

import pytest

import turn_client as turn
from lab import wait_for
from turn_client import TurnClient


@pytest.fixture(scope="module")
def house(lab):
    add_container(lab)
    for address in ("10.201.66.1/32", "fd20:66::1/128"):
        lab.relay.ip("addr", "add", address, "dev", "lo")


@pytest.fixture(scope="module", params=["af_xdp", "af_packet"])
def relay(request, lab, house):
    relay = lab.start_relay(driver=request.param)
    yield relay
    assert relay.stop() == 0, relay.output()


def add_container(lab):
    """A host behind a bridge of the relay's, 10.201.99.2."""
    box = lab.add("box")
    lab.relay.ip("link", "add", "br0", "type", "bridge")
    lab.relay.ip("addr", "add", "10.201.99.1/24", "dev", "br0")
    lab.relay.ip("link", "set", "br0", "up")
    lab.join(box, "eth0", ["10.201.99.2/24"], lab.relay, "tobox", [])
    lab.relay.ip("link", "set", "tobox", "master", "br0")
    box.ip("route", "add", "default", "via", "10.201.99.1")
    lab.box = box


@contextlib.contextmanager
def echo(host, address, port=0):
    """Answers each datagram with itself and its sender's address; gives its own."""
    with host.udp(address, port) as sock:
        sock.settimeout(0.1)
        done = threading.Event()

        def run():
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    data, sender = sock.recvfrom(65536)
                    sock.sendto(data + f" for {sender[0]} {sender[1]}".encode(), sender)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield sock.getsockname()[:2]
        finally:
            done.set()
            thread.join()


def client_of(lab, v6=False, host=None, address=None):
    host = host or lab.client
    address = address or (lab.CLIENT6 if v6 else lab.CLIENT4)
    return TurnClient(host.udp(address), (lab.SERVER6 if v6 else lab.SERVER4, 3478))


def family(six):
    return (turn.REQUESTED_ADDRESS_FAMILY, bytes([2 if six else 1, 0, 0, 0]))


# Of this host: a listening address, a relayed one, another on loopback, one behind a bridge; IPv6.
PLACES = [
    ("relay", "10.201.1.1"),
    ("relay", "10.201.2.1"),
    ("relay", "10.201.66.1"),
    ("relay", "10.201.99.1"),
    ("box", "10.201.99.2"),
    ("relay", "fd20:1::1"),
    ("relay", "fd20:2::1"),
    ("relay", "fd20:66::1"),
]


@pytest.mark.parametrize("where,address", PLACES)
def test_peers_here_are_reached_and_answer(lab, relay, where, address):
    one = client_of(lab)
    allocated = one.allocate(family(":" in address))
    relayed = allocated.address(turn.XOR_RELAYED_ADDRESS)
    with echo(getattr(lab, where), address) as peer:
        assert one.channel_bind(0x4000, *peer).message_class == turn.SUCCESS
        for number in range(50):
            text = f"channel {number}"
            one.channel_data(0x4000, text.encode())
            assert one.receive_any() == ("channel", 0x4000, f"{text} for {relayed[0]} {relayed[1]}".encode())
    with echo(getattr(lab, where), address) as peer:
        one.send(*peer, b"indication")
        answer = one.receive_any()
        assert answer.get(turn.DATA_ATTRIBUTE) == f"indication for {relayed[0]} {relayed[1]}".encode()
        assert answer.address(turn.XOR_PEER_ADDRESS) == peer
    assert one.refresh(0).message_class == turn.SUCCESS


def test_a_peer_here_may_speak_first(lab, relay):
    one = client_of(lab)
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    assert one.create_permission("10.201.66.1").message_class == turn.SUCCESS
    with lab.relay.udp("10.201.66.1") as peer:

        def heard():
            peer.sendto(b"first", relayed)
            with contextlib.suppress(TimeoutError):
                return one.receive_any().get(turn.DATA_ATTRIBUTE) == b"first"

        wait_for(heard, 5, "data of a peer that hasn't been sent to")
        # Who has no permission isn't heard.
        with lab.relay.udp("10.201.2.1") as other:
            other.sendto(b"stranger", relayed)
            with pytest.raises(TimeoutError):
                one.receive_any()


def test_clients_here_get_in(lab, relay):
    output = lab.relay.exec("turnutils_stunclient", lab.SERVER4).stdout
    assert re.search(rf"reflexive addr: {lab.SERVER4}:\d+", output), output
    peer = lab.peer.start("turnutils_peer", "-L", lab.PEER4, "-L", lab.PEER6, "-p", "3480")
    wait_for(lambda: ":3480" in lab.peer.exec("ss", "-Huln").stdout, 5, "turnutils_peer listening")
    for host, server, to in (
        (lab.relay, lab.SERVER4, lab.PEER4),
        (lab.relay, lab.SERVER6, lab.PEER6),
        (lab.box, lab.SERVER4, lab.PEER4),
    ):
        command = ["turnutils_uclient", "-u", "alice", "-w", "secret", "-e", to, "-r", "3480", "-n", "50"]
        command += ["-m", "2", "-l", "160", "-z", "5", *(["-x"] if ":" in to else []), server]
        output = host.exec(*command, check=False).stdout
        sent, received = (re.findall(rf"tot_{word}_msgs=(\d+)", output)[-1:] for word in ("send", "recv"))
        assert sent == received and int(sent[0]) > 0 and "Total lost packets 0" in output, output[-2000:]
    peer.kill()


def test_two_clients_here_are_each_others_peers(lab, relay):
    one, two = (client_of(lab, host=lab.relay, address=lab.SERVER4) for _ in range(2))
    first = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    second = two.allocate().address(turn.XOR_RELAYED_ADDRESS)
    assert one.channel_bind(0x4000, *second).message_class == turn.SUCCESS
    assert two.channel_bind(0x4000, *first).message_class == turn.SUCCESS
    one.channel_data(0x4000, b"next door")
    assert two.receive_any() == ("channel", 0x4000, b"next door")


def test_the_relay_itself_is_no_peer(lab, relay):
    one = client_of(lab)
    one.allocate()
    before = relay.total("turnpike_own_host_lost_total", reason="own_service")
    for address in (lab.SERVER4, lab.RELAY4):
        assert one.create_permission(address).message_class == turn.SUCCESS
    binding = turn.build(turn.BINDING, turn.REQUEST, os.urandom(12), [])
    one.send(lab.SERVER4, 3478, binding)
    with pytest.raises(TimeoutError):
        one.receive_any()
    assert relay.total("turnpike_own_host_lost_total", reason="own_service") == before + 1
    # Nor any by a name that the rules refuse.
    for address in ("127.0.0.1", "0.0.0.0", "169.254.169.254"):
        assert one.create_permission(address).error == 403, address


def test_sockets_end_with_their_allocation(lab, relay):
    clients = [client_of(lab) for _ in range(20)]
    sockets = relay.total("turnpike_own_host_sockets")
    for one in clients:
        one.allocate()
        for address in ("10.201.66.1", "10.201.99.2", lab.RELAY4):
            assert one.create_permission(address).message_class == turn.SUCCESS
    wait_for(lambda: relay.total("turnpike_own_host_sockets") == sockets + 20, 5, "one socket each")
    for one in clients:
        assert one.refresh(0).message_class == turn.SUCCESS
    wait_for(lambda: relay.total("turnpike_own_host_sockets") == sockets, 5, "no socket of ended allocations")


def test_long_datagrams(lab, relay):
    one = client_of(lab)
    one.allocate()
    with echo(lab.relay, "10.201.66.1") as peer:
        assert one.channel_bind(0x4000, *peer).message_class == turn.SUCCESS
        one.channel_data(0x4000, bytes(4000))
        assert len(one.receive_any()[2]) > 4000


def test_what_a_full_socket_loses_is_counted(lab, relay):
    def lost():
        return relay.total("turnpike_own_host_lost_total", reason="overflow")

    before = lost()
    with lab.relay.udp(lab.SERVER4) as flood:
        os.kill(relay.process.pid, signal.SIGSTOP)
        try:
            for _ in range(20000):
                flood.sendto(bytes(1000), (lab.SERVER4, 3478))
        finally:
            os.kill(relay.process.pid, signal.SIGCONT)

        def told():
            flood.sendto(bytes(20), (lab.SERVER4, 3478))
            return lost() > before + 1000

        wait_for(told, 20, "the flood's losses counted")


def test_a_socket_that_another_program_had_is_tried_again(lab, relay):
    one = client_of(lab)
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)

    def missing():
        return relay.total("turnpike_own_host_missing_sockets")

    def condition():
        return relay.total("turnpike_condition", condition="no_host_socket")

    with lab.relay.udp(*relayed), echo(lab.relay, "10.201.66.1") as peer:
        assert one.channel_bind(0x4000, *peer).message_class == turn.SUCCESS
        wait_for(lambda: missing() == 1 and condition() == 1, 10, "the missing socket told")
        assert relay.get("/readyz")[0] == 200, "all others are served"
        assert "peers on this host can't be reached for now: no socket: Address already in use" in relay.output()
    with echo(lab.relay, "10.201.66.1", peer[1]):
        wait_for(lambda: missing() == 0 and condition() == 0, 10, "the socket had")

        def heard():
            one.channel_data(0x4000, b"at last")
            with contextlib.suppress(TimeoutError):
                return one.receive_any()[2].startswith(b"at last for ")

        wait_for(heard, 10, "the peer's answer")
    assert one.refresh(0).message_class == turn.SUCCESS


def test_external_address_of_this_host(fresh_lab):
    lab = fresh_lab
    relay = lab.start_relay("--external", "203.0.113.7", "--allow-peer", "203.0.113.7", relays=[lab.RELAY4])
    one = client_of(lab)
    assert one.allocate().address(turn.XOR_RELAYED_ADDRESS)[0] == "203.0.113.7"
    with echo(lab.relay, lab.RELAY4) as peer:
        assert one.channel_bind(0x4000, "203.0.113.7", peer[1]).message_class == turn.SUCCESS
        one.channel_data(0x4000, b"in")
        assert one.receive_any()[2].startswith(b"in for ")
    assert relay.stop() == 0, relay.output()


def test_owned_ports(owned_lab, tmp_path):
    lab = owned_lab
    relay = lab.start_relay(directory=tmp_path)
    lab.relay.ip("addr", "add", "10.201.66.1/32", "dev", "lo")
    one = client_of(lab)
    one.allocate()
    with echo(lab.relay, "10.201.66.1") as peer:
        wait_for(lambda: one.channel_bind(0x4000, *peer).message_class == turn.SUCCESS, 5, "a channel")
        one.channel_data(0x4000, b"home")
        assert one.receive_any()[2].startswith(b"home for ")
    output = lab.relay.exec("turnutils_stunclient", lab.SERVER4).stdout
    assert "reflexive addr" in output, output
    assert relay.stop() == 0, relay.output()
