"""Clients that take their allocations along (RFC 8016): between ports, addresses, families and transports, in the
middle of media, with one shard and with three; and those who would abuse it."""

import os
import re
import socket
import struct
import threading
import time

import pytest

import turn_client as turn
from lab import wait_for
from test_streams import Streaming, listeners, ok
from turn_client import TurnClient

SECOND4 = "10.201.1.3"  # of the client's


@pytest.fixture(scope="module", params=[1, 3], ids=["one-shard", "three-shards"])
def relay(request, lab, tmp_path_factory):
    lab.client.ip("addr", "add", SECOND4 + "/24", "dev", "eth0")
    config = tmp_path_factory.mktemp("mobility") / "relay.toml"
    config.write_text(listeners(lab, extra=f"shards = {request.param}\n"))
    relay = lab.start_relay("--config", config, "--user", "bob:secret", listen=[])
    peer = lab.peer.start("turnutils_peer", "-L", lab.PEER4, "-L", lab.PEER6, "-p", "3480")
    yield relay
    peer.kill()
    lab.client.ip("addr", "del", SECOND4 + "/24", "dev", "eth0")
    assert relay.stop() == 0, relay.output()


def client_at(lab, address, port=0, **options):
    server = lab.SERVER6 if ":" in address else lab.SERVER4
    return TurnClient(lab.client.udp(address, port), (server, 3478), **options)


def allocate(client):
    answer = ok(client.allocate((turn.MOBILITY_TICKET, b"")))
    return answer.address(turn.XOR_RELAYED_ADDRESS), answer.get(turn.MOBILITY_TICKET)


def move(client, ticket):
    return client.refresh(600, (turn.MOBILITY_TICKET, ticket))


class Numbers:
    """Datagrams from one socket, in a thread: (when, who got it) by number."""

    def __init__(self):
        self.got, self.over, self.threads = {}, False, []

    def listen(self, sock, name, header=4):
        def run():
            sock.settimeout(0.05)
            while not self.over:
                try:
                    data = sock.recv(100)
                except socket.timeout:
                    continue
                if len(data) == header + 4:
                    number = struct.unpack("!I", data[header:])[0]
                    self.got.setdefault(number, []).append(name)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def stop(self):
        self.over = True
        for thread in self.threads:
            thread.join()


# The two that have a relay of their own come before the one of the others.
def test_forbidden(lab, tmp_path):
    config = tmp_path / "fixed.toml"
    config.write_text("mobility = false\n")
    relay = lab.start_relay("--config", config)
    client = client_at(lab, lab.CLIENT4)
    assert client.allocate((turn.MOBILITY_TICKET, b"")).error == 405
    ok(client.allocate())
    assert move(client_at(lab, lab.CLIENT4), bytes(32)).error == 405
    assert relay.stop() == 0, relay.output()


def test_the_quota_is_kept(lab, tmp_path):
    config = tmp_path / "quota.toml"
    config.write_text(listeners(lab))
    relay = lab.start_relay("--config", config, "--user-quota", "1", listen=[])
    stream = Streaming.connect(lab)
    _, ticket = allocate(stream)
    stream.sock.close()
    time.sleep(0.3)
    for _ in range(20):
        assert client_at(lab, lab.CLIENT4).allocate((turn.MOBILITY_TICKET, b"")).error == 486
    client = client_at(lab, lab.CLIENT4)
    ok(move(client, ticket))
    ok(client.refresh(0))
    ok(client_at(lab, lab.CLIENT4).allocate())
    assert relay.stop() == 0, relay.output()


@pytest.mark.parametrize("to", [SECOND4, "fd20:1::2"], ids=["ipv4", "ipv6"])
def test_nothing_is_lost_in_the_middle_of_media(lab, relay, to):
    before = relay.total("turnpike_moves_total")
    old, new, peer = client_at(lab, lab.CLIENT4), client_at(lab, to), lab.peer.udp(lab.PEER4)
    relayed, ticket = allocate(old)
    ok(old.channel_bind(0x4000, *peer.getsockname()))
    down, up = Numbers(), Numbers()
    down.listen(old.sock, "old")
    up.listen(peer, "peer", header=0)
    sent_down = sent_up = 0
    moved = False

    def media(count):
        nonlocal sent_down, sent_up
        for _ in range(count):
            peer.sendto(struct.pack("!I", sent_down), relayed)
            (new if moved else old).channel_data(0x4000, struct.pack("!I", sent_up))
            sent_down, sent_up = sent_down + 1, sent_up + 1
            time.sleep(0.0005)

    media(200)
    # Answered while media go on: the old five-tuple has them all.
    second = ok(move(new, ticket)).get(turn.MOBILITY_TICKET)
    assert len(second) == 32 and second != ticket
    down.listen(new.sock, "new")
    media(200)
    moved = True
    media(600)
    wait_for(lambda: len(down.got) == sent_down and len(up.got) == sent_up, 5, "all that was sent")
    down.stop()
    up.stop()
    assert all(len(names) == 1 for got in (down.got, up.got) for names in got.values()), "something came twice"
    first = min(number for number, names in down.got.items() if names == ["new"])
    assert 400 <= first <= 500, "once data have come from there"
    assert all(down.got[number] == ["old"] for number in range(first))
    assert all(down.got[number] == ["new"] for number in range(first, sent_down))
    assert relay.total("turnpike_moves_total") == before + 1
    assert old.refresh(600).error == 437
    ok(new.refresh(0))
    for sock in (old.sock, new.sock, peer):
        sock.close()


def rebound(lab, client):
    """The same client, from another port: what its NAT makes of it without a word."""
    after = client_at(lab, lab.CLIENT4)
    after.nonce, after.algorithms = client.nonce, client.algorithms
    return after


def test_a_nat_that_rebinds_in_the_middle_of_a_call(lab, relay):
    client, peer = client_at(lab, lab.CLIENT4), lab.peer.udp(lab.PEER4)
    relayed, ticket = allocate(client)
    ok(client.channel_bind(0x4000, *peer.getsockname()))
    down, up = Numbers(), Numbers()
    up.listen(peer, "peer", header=0)
    down.listen(client.sock, "before")
    sent = 0

    def media(count):
        nonlocal sent
        for _ in range(count):
            peer.sendto(struct.pack("!I", sent), relayed)
            client.channel_data(0x4000, struct.pack("!I", sent))
            sent += 1
            time.sleep(0.0005)

    media(300)
    wait_for(lambda: len(up.got) == len(down.got) == sent, 5, "all before")
    down.stop()
    client = rebound(lab, client)
    broke = sent
    media(100)  # nobody has noticed yet
    assert client.request(turn.REFRESH, [(turn.MOBILITY_TICKET, ticket)]).error is None
    down.over = False
    down.threads.clear()
    down.listen(client.sock, "after")
    back = sent
    media(500)
    wait_for(lambda: all(number in up.got for number in range(back, sent)), 5, "all of the client's from then on")
    wait_for(lambda: sent - 1 in down.got, 5, "the last of the peer's")
    first = min(number for number, names in down.got.items() if names == ["after"])
    assert back <= first <= back + 100, "the gap ends as soon as data have come from there"
    wait_for(lambda: all(number in down.got for number in range(first, sent)), 5, "all of the peer's from then on")
    assert not any(number in up.got for number in range(broke, back)), "a stranger's until then"
    down.stop()
    up.stop()
    ok(client.refresh(0))
    client.sock.close()
    peer.close()


def test_a_nat_that_rebinds_a_client_without_a_ticket(lab, relay):
    client, peer = client_at(lab, lab.CLIENT4), lab.peer.udp(lab.PEER4)
    relayed = ok(client.allocate()).address(turn.XOR_RELAYED_ADDRESS)
    before, old_nonce = client, client.nonce
    client = rebound(lab, client)

    def asks(method, *attributes):
        identity = os.urandom(12)
        return client.exchange(
            turn.build(method, turn.REQUEST, identity, [*attributes, *client.credentials()], client.key)
        )

    stale = asks(turn.REFRESH)
    assert stale.error == 438 and stale.get(turn.NONCE) != old_nonce
    client.nonce = stale.get(turn.NONCE)
    # One round trip later it is back; or it asks for what it had, is told that this is gone, and then is.
    gone = asks(turn.REFRESH)
    assert gone.error == 437 and gone.integrity_holds(client.key)
    again = asks(turn.ALLOCATE, (turn.REQUESTED_TRANSPORT, bytes([17, 0, 0, 0])))
    assert again.message_class == turn.SUCCESS
    assert again.address(turn.XOR_RELAYED_ADDRESS) != relayed
    ok(client.channel_bind(0x4000, *peer.getsockname()))
    client.channel_data(0x4000, b"back")
    assert peer.recv(100) == b"back"
    ok(client.refresh(0))
    ok(before.refresh(0))
    peer.close()


def test_send_indications_move_too(lab, relay):
    old, new, peer = client_at(lab, lab.CLIENT4), client_at(lab, SECOND4), lab.peer.udp(lab.PEER4)
    relayed, ticket = allocate(old)
    ok(old.create_permission(lab.PEER4))
    ok(move(new, ticket))
    peer.sendto(b"to the old one", relayed)
    assert old.receive_any().get(turn.DATA_ATTRIBUTE) == b"to the old one"
    new.send(*peer.getsockname(), b"from the new one")
    assert peer.recvfrom(100) == (b"from the new one", relayed)
    before = relay.total("turnpike_dropped_packets_total")

    def comes():
        peer.sendto(b"to the new one", relayed)
        new.sock.settimeout(0.1)
        try:
            return new.receive_any().get(turn.DATA_ATTRIBUTE) == b"to the new one"
        except socket.timeout:
            return False

    wait_for(comes, 2, "the peer's data at the new place")
    old.send(*peer.getsockname(), b"from the old one")
    wait_for(
        lambda: relay.total("turnpike_dropped_packets_total") > before, 2, "what comes from the old place is dropped"
    )
    ok(new.refresh(0))


def test_on_and_on(lab, relay):
    """Two hundred moves of one allocation: as many as it takes to meet each way from shard to shard."""
    peer, client = lab.peer.udp(lab.PEER4), client_at(lab, lab.CLIENT4)
    relayed, ticket = allocate(client)
    ok(client.channel_bind(0x4000, *peer.getsockname()))
    for number in range(200):
        following = client_at(lab, (lab.CLIENT4, SECOND4, lab.CLIENT6)[number % 3])
        ticket = ok(move(following, ticket)).get(turn.MOBILITY_TICKET)
        client.sock.close()
        client = following
        text = b"%d" % number
        client.channel_data(0x4000, text)
        assert peer.recvfrom(100) == (text, relayed)
        ok(client.refresh(600))  # behind the notice: its shard has heeded that by the next one
        client.sock.settimeout(0.2)
        for _ in range(20):
            peer.sendto(text, relayed)
            try:
                assert client.receive_any() == ("channel", 0x4000, text)
                break
            except socket.timeout:
                continue
        else:
            raise AssertionError(f"nothing comes after move {number}")
    assert relay.total("turnpike_allocations") == 1
    ok(client.refresh(0))
    wait_for(lambda: relay.total("turnpike_allocations") == 0, 5, "its end")


def test_between_udp_and_tcp(lab, relay):
    peer, old = lab.peer.udp(lab.PEER4), client_at(lab, lab.CLIENT4)
    relayed, ticket = allocate(old)
    ok(old.channel_bind(0x4000, *peer.getsockname()))
    stream = Streaming.connect(lab)
    second = ok(move(stream, ticket)).get(turn.MOBILITY_TICKET)
    stream.channel_data(0x4000, b"by TCP")
    assert peer.recvfrom(100) == (b"by TCP", relayed)

    def reaches(client, text):
        peer.sendto(text, relayed)
        client.sock.settimeout(0.2)
        try:
            return client.receive_any() == ("channel", 0x4000, text)
        except (socket.timeout, TimeoutError):
            return False

    wait_for(lambda: reaches(stream, b"to TCP"), 2, "the peer's data by TCP")
    # The stream's end is not the allocation's, whose client comes back by UDP.
    stream.sock.close()
    again = client_at(lab, SECOND4)
    third = ok(move(again, second)).get(turn.MOBILITY_TICKET)
    again.channel_data(0x4000, b"by UDP")
    assert peer.recvfrom(100) == (b"by UDP", relayed)
    wait_for(lambda: reaches(again, b"to UDP"), 2, "the peer's data by UDP")
    # And a stream that ends before it has sent anything changes nothing.
    other = Streaming.connect(lab)
    ok(move(other, third))
    other.sock.close()
    time.sleep(0.2)
    assert reaches(again, b"still")
    ok(again.refresh(0))


def test_a_closed_stream_keeps_what_its_user_has(lab, relay):
    """What coturn gave back when a stream ended, while the allocation lived on (GHSA-f6hc-79w3-p8pq)."""
    before = relay.total("turnpike_allocations")
    stream = Streaming.connect(lab)
    _, ticket = allocate(stream)
    stream.sock.close()
    time.sleep(0.3)
    assert relay.total("turnpike_allocations") == before + 1
    client = client_at(lab, lab.CLIENT4)
    ok(move(client, ticket))
    ok(client.refresh(0))
    assert relay.total("turnpike_allocations") == before


def test_refusals(lab, relay):
    one, other = client_at(lab, lab.CLIENT4), client_at(lab, SECOND4)
    _, ticket = allocate(one)
    assert one.allocate((turn.MOBILITY_TICKET, ticket)).error in (400, 437)
    assert move(one, ticket).error == 400, "it hasn't moved"
    bob = client_at(lab, SECOND4, username="bob")
    assert move(bob, ticket).error == 441
    for wrong in (b"", b"\xff" * 32, bytes(31), ticket[:-1] + bytes([ticket[-1] ^ 1]), b"\x80" * 500):
        assert move(other, wrong).error == 400, wrong
    taken = client_at(lab, SECOND4)
    ok(taken.allocate())
    assert move(taken, ticket).error == 437, "it has an allocation"
    ok(taken.refresh(0))
    ok(one.refresh(0))
    assert move(other, ticket).error == 437, "it has ended"


def test_what_was_overheard_moves_nothing(lab, relay):
    one, other = client_at(lab, lab.CLIENT4), client_at(lab, SECOND4)
    _, ticket = allocate(one)
    ok(move(other, ticket))
    thief = client_at(lab, SECOND4)
    thief.send_raw(other.last_request)
    assert thief.receive(other.last_request[8:20]).error == 438
    again = other.exchange(other.last_request)
    assert again.error is None and again.get(turn.MOBILITY_TICKET), "its own repetition is answered"
    ok(one.refresh(0))


def test_a_flood_of_moves_leaves_one(lab, relay):
    """Each from another port with the ticket of the one before, none followed by data (coturn's a97f1924)."""
    one = client_at(lab, lab.CLIENT4)
    _, ticket = allocate(one)
    for _ in range(150):
        flooding = client_at(lab, SECOND4)
        ticket = ok(move(flooding, ticket)).get(turn.MOBILITY_TICKET)
        last = flooding
        flooding.sock.settimeout(1)
    assert relay.total("turnpike_allocations") == 1
    ok(last.refresh(600))
    ok(one.refresh(0))
    assert last.refresh(600).error == 437


def test_uclient(lab, relay):
    wait_for(lambda: ":3480" in lab.peer.exec("ss", "-Huln").stdout, 5, "turnutils_peer listening")
    before = relay.total("turnpike_moves_total")
    for how in (["-M"], ["-M", "-s"], ["-M", "-t"]):
        # It closes the socket that it moves from, and loses what is on its way there: on a host that is shared a
        # message or two of a hundred, with whichever relay.
        lost = []
        while not lost or (lost[-1] > 2 and len(lost) < 4):
            command = ["turnutils_uclient", "-u", "alice", "-w", "secret", "-e", lab.PEER4, "-r", "3480", "-n", "50"]
            command += ["-m", "2", "-l", "160", "-z", "5", *how, lab.SERVER4]
            output = lab.client.exec(*command, check=False, timeout=60).stdout
            lost.append(int(re.search(r"Total lost packets (\d+)", output)[1]))
        assert lost[-1] <= 2, (how, lost)
    assert relay.total("turnpike_moves_total") >= before
