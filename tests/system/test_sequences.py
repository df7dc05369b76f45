"""Whole calls of thirteen minutes, as libjuice and libnice make them. The relay's clock runs 60 times as fast."""

import base64
import os
import socket
import struct
import threading
import time

import pytest

import turn_client as turn
from turn_client import TurnClient

SCALE = 60
LENGTH_S = 780
NONCE_S = 170  # so that a call meets 438 several times


@pytest.fixture(scope="module")
def relay(lab, tmp_path_factory):
    path = tmp_path_factory.mktemp("relay") / "scale.toml"
    path.write_text(f"[auth]\nnonce_lifetime_s = {NONCE_S}\n[test]\ntime_scale = {SCALE}\n")
    relay = lab.start_relay("--config", path)
    yield relay
    assert relay.stop() == 0, relay.output()


class Peer:
    """Answers each datagram with the same bytes."""

    def __init__(self, host, address):
        self.sock, self.heard = host.udp(address), []
        self.sock.settimeout(0.2)
        self.address, self.over = self.sock.getsockname()[:2], False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over:
            try:
                data, source = self.sock.recvfrom(2000)
            except socket.timeout:
                continue
            self.heard.append(data)
            self.sock.sendto(data, source)

    def close(self):
        self.over = True
        self.thread.join()
        self.sock.close()


@pytest.fixture
def peer(lab):
    one = Peer(lab.peer, lab.PEER4)
    yield one
    one.close()


class Call:
    """What is due when, and what came back of what was sent. Times are the relay's seconds."""

    def __init__(self, client):
        self.client, self.due = client, {}
        self.begin = time.monotonic()
        self.sent, self.back, self.refused = 0, [], 0

    def now(self):
        return (time.monotonic() - self.begin) * SCALE

    def every(self, seconds, act):
        """`act` at once, and then each `seconds`."""
        act()
        self.due[act] = [self.now() + seconds, seconds]

    def ask(self, method, attributes, behind=()):
        """A request with data right behind it, which don't wait. A nonce that has ended is asked for again."""
        for _ in range(3):
            identity = os.urandom(12)
            request = turn.build(
                method,
                turn.REQUEST,
                identity,
                attributes(identity) + self.client.credentials(),
                self.client.key,
                self.client.sha256,
            )
            self.client.send_raw(request)
            for act in behind:
                act()
            behind = ()
            answer = self.client.receive(identity)
            if answer.error != 438:
                assert answer.message_class == turn.SUCCESS, answer.error
                return answer
            self.refused += 1
            self.client.nonce, self.client.algorithms = answer.get(turn.NONCE), answer.get(turn.PASSWORD_ALGORITHMS)
        raise AssertionError("438 to a nonce that came with 438")

    def listen(self, seconds):
        """Takes what comes for so long, by the wall's clock."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 or self.client.other:
            self.client.sock.settimeout(max(left, 0.001))
            try:
                self.back.append(self.client.receive_any())
            except socket.timeout:
                break
        self.client.sock.settimeout(1)

    def run(self, send):
        while self.now() < LENGTH_S:
            for act, times in self.due.items():
                if self.now() >= times[0]:
                    act()
                    times[0] = self.now() + times[1]
            send(b"%d" % self.sent)
            self.sent += 1
            self.listen(0.05)
        self.listen(0.5)


def peer_of(peer):
    return lambda identity: [(turn.XOR_PEER_ADDRESS, turn.xor_address(*peer.address, identity))]


def refresh_for(seconds):
    return lambda identity: [(turn.LIFETIME, struct.pack("!I", seconds))]


def most_of(came, sent):
    """In order, and all but what a stall of this machine may cost; a broken call loses whole minutes."""
    assert came == sorted(came), came
    assert len(set(came)) == len(came), "some came twice"
    assert len(came) >= sent * 0.97, f"{len(came)} of {sent}"


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_libjuice_like(lab, relay, peer, algorithm):
    """The user's hash, as the nonce's bits offer it; SHA-256 as its next version will. It asks again when half of a
    lifetime is over and there is something to send, and what is to be sent goes right behind."""
    for _ in range(3):  # where this machine stalls, what waits may wait too long
        with lab.client.udp(lab.CLIENT4) as sock:
            one = TurnClient(sock, (lab.SERVER4, 3478), sha256=algorithm == "SHA-256", userhash=True)
            relayed, call, number = allocate_like_libjuice(one)
            if begin_in_one_breath(call, number, peer):
                goes_on_like_libjuice(call, number, peer, relayed)
                return
            one.refresh(0)
    raise AssertionError("data behind a request never came all")


def allocate_like_libjuice(one):
    mapped = one.request(turn.BINDING, authenticate=False).address(turn.XOR_MAPPED_ADDRESS)
    assert mapped == one.sock.getsockname()
    challenge = one.request(
        turn.ALLOCATE, [(turn.REQUESTED_TRANSPORT, b"\x11\0\0\0"), (turn.SOFTWARE, b"libjuice")], authenticate=False
    )
    assert challenge.error == 401
    one.nonce, one.algorithms = challenge.get(turn.NONCE), challenge.get(turn.PASSWORD_ALGORITHMS)
    assert one.nonce.startswith(b"obMatJos2"), one.nonce  # the cookie; then bits: password algorithms, anonymity
    assert int.from_bytes(base64.b64decode(one.nonce[9:13]), "big") & 3 == 3, one.nonce
    relayed = one.allocate((turn.LIFETIME, struct.pack("!I", 600))).address(turn.XOR_RELAYED_ADDRESS)
    return relayed, Call(one), 0x4000 + os.urandom(1)[0]


def begin_in_one_breath(call, number, peer):
    """Checks by Send indications right behind the permission that they need, and media right behind the channel: whether
    all have come. What came must be in order."""
    one, behind = call.client, []
    checks = [turn.build(turn.BINDING, turn.REQUEST, os.urandom(12), [(turn.USERNAME, b"a:b")]) for _ in range(4)]
    early = [b"early %d" % i for i in range(4)]

    def all_came(sent, of_answer):
        call.listen(0.3)
        assert peer.heard == [data for data in sent if data in peer.heard]
        assert [of_answer(answer) for answer in call.back] == peer.heard
        complete = peer.heard == sent
        del peer.heard[:], call.back[:], behind[:]
        return complete

    behind += [lambda c=c: one.send(*peer.address, c) for c in checks]
    call.every(150, lambda: call.ask(turn.CREATE_PERMISSION, peer_of(peer), behind))
    complete = all_came(
        checks, lambda a: a.address(turn.XOR_PEER_ADDRESS) == peer.address and a.get(turn.DATA_ATTRIBUTE)
    )
    behind += [lambda e=e: one.channel_data(number, e) for e in early]
    call.every(
        300,
        lambda: call.ask(
            turn.CHANNEL_BIND,
            lambda t: [(turn.CHANNEL_NUMBER, struct.pack("!HH", number, 0)), *peer_of(peer)(t)],
            behind,
        ),
    )
    return all_came(early, lambda a: a[:2] == ("channel", number) and a[2]) and complete


def goes_on_like_libjuice(call, number, peer, relayed):
    one = call.client

    def keep_alive():  # to the server, which must not answer, and to the peer
        indication = turn.build(turn.BINDING, turn.INDICATION, os.urandom(12), [])
        one.send_raw(indication)
        one.channel_data(number, indication)

    call.every(15, keep_alive)
    call.every(540, lambda: call.ask(turn.REFRESH, refresh_for(600)))
    call.run(lambda data: one.channel_data(number, data))
    assert all(isinstance(entry, tuple) and entry[1] == number for entry in call.back), "an indication was answered"
    came = [entry for entry in call.back if entry[2][0] >= 4]
    most_of([int(data) for *_, data in came], call.sent)
    assert len(call.back) > len(came), "no keepalive came through"
    assert call.refused >= 2, "no nonce ended"
    end(call, peer, relayed, lambda data: one.channel_data(number, data))


def test_libnice_like(lab, relay, peer):
    """Discovery as of RFC 3489; SHA-1 and MD5; a permission for each peer before its checks; a channel when a pair has
    been selected; permissions anew after 240 s, channel and allocation a minute before their ends."""
    with lab.client.udp(lab.CLIENT4) as sock, lab.peer.udp(lab.PEER4) as other:
        other.settimeout(1)
        one = TurnClient(sock, (lab.SERVER4, 3478))
        identity = os.urandom(16)
        one.send_raw(struct.pack("!HH", turn.BINDING, 0) + identity)
        answer = sock.recv(1000)
        assert answer[:2] == b"\x01\x01" and answer[4:20] == identity
        mapped = struct.pack("!HHBBH", 1, 8, 0, 1, sock.getsockname()[1]) + socket.inet_aton(lab.CLIENT4)
        assert mapped in answer  # MAPPED-ADDRESS
        relayed = one.allocate((turn.LIFETIME, struct.pack("!I", 600))).address(turn.XOR_RELAYED_ADDRESS)
        call, number = Call(one), 0x4000

        peers = [peer.address, other.getsockname()[:2], ("10.201.2.77", 9)]  # the last is nobody
        for address in peers:
            call.ask(turn.CREATE_PERMISSION, lambda t, a=address: [(turn.XOR_PEER_ADDRESS, turn.xor_address(*a, t))])
            one.send(*address, turn.build(turn.BINDING, turn.REQUEST, os.urandom(12), [(turn.USERNAME, b"a:b")]))
        assert other.recv(1000)[8:20], "the second peer was checked"
        call.every(240, lambda: call.ask(turn.CREATE_PERMISSION, peer_of(peer)))
        call.listen(0.3)
        assert len(peer.heard) == 1
        answers = [entry for entry in call.back if entry.get(turn.DATA_ATTRIBUTE)]
        assert [answer.get(turn.DATA_ATTRIBUTE) for answer in answers] == peer.heard
        del call.back[:]

        call.every(
            540,
            lambda: call.ask(
                turn.CHANNEL_BIND, lambda t: [(turn.CHANNEL_NUMBER, struct.pack("!HH", number, 0)), *peer_of(peer)(t)]
            ),
        )
        call.every(540, lambda: call.ask(turn.REFRESH, refresh_for(600)))
        call.run(lambda data: one.channel_data(number, data))
        came = [entry for entry in call.back if isinstance(entry, tuple)]
        assert all(entry[1] == number for entry in came)
        most_of([int(data) for *_, data in came], call.sent)
        assert call.refused >= 2, "no nonce ended"
        end(call, peer, relayed, lambda data: one.channel_data(number, data))


def end(call, peer, relayed, send):
    """The allocation goes with its Refresh of 0, and nothing passes any more."""
    call.ask(turn.REFRESH, refresh_for(0))
    del call.back[:], peer.heard[:]
    send(b"9999")
    peer.sock.sendto(b"9999", relayed)
    call.listen(0.3)
    assert not peer.heard
    assert not call.back
