"""Allocations of TCP (RFC 6062): coturn's own client, and one that says exactly what a test wants."""

import contextlib
import ipaddress
import os
import re
import socket
import ssl
import struct
import threading
import time

import pytest

import turn_client as turn
from certificates import make_certificate
from lab import wait_for
from test_streams import Streaming, listeners, ok

CONNECT, CONNECTION_BIND, CONNECTION_ATTEMPT, CONNECTION_ID = 10, 11, 12, 0x2A
TCP, RELAY = 6, "[tcp_relay]\nenabled = true\n"
FAST = RELAY + "connects_per_user_per_second = 0\nconnecting_per_allocation = 1000\n"


@pytest.fixture(scope="module")
def relay(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tcp")
    config = folder / "tcp.toml"
    config.write_text("shards = 3\n" + FAST + listeners(lab, [make_certificate(folder, "turn.example.org")]))
    relay = lab.start_relay("--config", config, "--user", "bob:secret2", listen=[])
    yield relay
    assert relay.stop() == 0, relay.output()


@pytest.fixture
def start(fresh_lab, tmp_path):
    """A relay with configuration of its own: start(text, top)."""
    with contextlib.ExitStack() as stack:

        def start(text, top=""):
            config = tmp_path / "tcp.toml"
            config.write_text(top + text + listeners(fresh_lab))
            relay = fresh_lab.start_relay("--config", config, listen=[])
            stack.callback(relay.kill)
            return relay

        yield start


class Client(Streaming):
    """A control connection, and data connections of the same user."""

    @classmethod
    def make(cls, lab, **options):
        client = cls.connect(lab, **options)
        client.lab, client.options = lab, options
        return client

    def allocate_tcp(self, *extra, **options):
        return ok(self.allocate(*extra, transport=TCP, **options)).address(turn.XOR_RELAYED_ADDRESS)

    def connect_to(self, address, port):
        return self.request(CONNECT, lambda t: [(turn.XOR_PEER_ADDRESS, turn.xor_address(address, port, t))])

    def begin_connect(self, address, port):
        """Without waiting for the answer."""
        t = os.urandom(12)
        peer = [(turn.XOR_PEER_ADDRESS, turn.xor_address(address, port, t))]
        self.send_raw(turn.build(CONNECT, turn.REQUEST, t, peer + self.credentials(), self.key, self.sha256))

    def bind(self, connection, behind=b"", **options):
        """Another connection, bound; `behind` is sent at once with the request."""
        data = Client.make(self.lab, **{**self.options, **options})
        ok_or_none = data.request(turn.REFRESH)  # for its nonce
        assert ok_or_none.error == 437
        t = os.urandom(12)
        raw = turn.build(
            CONNECTION_BIND, turn.REQUEST, t, [(CONNECTION_ID, connection), *data.credentials()], data.key, data.sha256
        )
        data.sock.sendall(raw + behind)
        data.answer = data.receive(t)
        return data

    def attempt(self):
        message = turn.Message(self.next_message())
        assert (message.method, message.message_class) == (CONNECTION_ATTEMPT, turn.INDICATION)
        return message.get(CONNECTION_ID), message.address(turn.XOR_PEER_ADDRESS)

    def read(self, size):
        """Data, of a connection that is bound."""
        while len(self.bytes) < size:
            more = self.sock.recv(65536)
            if not more:
                break
            self.bytes += more
        got, self.bytes = self.bytes[:size], self.bytes[size:]
        return got


def listen(lab, host=None, address=None, backlog=64):
    address = address or lab.PEER4
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (host or lab.peer).inside():
        sock = socket.create_server((address, 0), family=family, backlog=backlog)
    sock.settimeout(5)
    return sock


def accept(listening):
    sock, who = listening.accept()
    sock.settimeout(5)
    return sock, who


def dial(lab, address, port, host=None):
    with (host or lab.peer).inside():
        sock = socket.create_connection((address, port), timeout=5)
    return sock


def linked(lab, peers, **options):
    """A client, its data connection and the peer's end."""
    client = Client.make(lab, **options)
    client.allocate_tcp()
    answer = ok(client.connect_to(*peers.getsockname()[:2]))
    peer, _ = accept(peers)
    data = client.bind(answer.get(CONNECTION_ID))
    ok(data.answer)
    return client, data, peer


def open_sockets(relay):
    return len(os.listdir(f"/proc/{relay.process.pid}/fd"))


def nothing_left(relay):
    def gone():
        series = relay.metrics()
        names = ("turnpike_allocations", "turnpike_peer_connections", "turnpike_peer_relays")
        return all(value == 0 for name, value in series.items() if name.split("{")[0] in names)

    wait_for(gone, 10, "nothing left")


# With -P half of its clients are peers, which bind to the address of -L, and whose receptions it doesn't count (of
# whatever server): half of what was sent. They begin with TLS where -S is, so that -P and -S are of no use together.
@pytest.mark.parametrize("how", [["-T"], ["-P"], ["-T", "-S", "-p", "5349"], ["-T", "-S", "-p", "443"]], ids=" ".join)
@pytest.mark.parametrize("family", [4, 6])
def test_uclient(lab, relay, how, family):
    command = ["turnutils_uclient", "-u", "alice", "-w", "secret", "-n", "50", "-m", "2", "-l", "160", "-z", "5", *how]
    command += ["-L", lab.CLIENT4, lab.SERVER4] if family == 4 else ["-L", lab.CLIENT6, "-x", lab.SERVER6]
    output = lab.client.exec(*command, check=False, timeout=60).stdout
    sent, received = (re.findall(rf"tot_{way}_msgs=(\d+)", output) for way in ("send", "recv"))
    assert sent and received, output[-3000:]
    counted = int(sent[-1]) // (2 if "-P" in how else 1)
    assert int(sent[-1]) == 100 and int(received[-1]) == counted, output[-3000:]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("port,name", [(3478, None), (5349, "turn.example.org"), (443, "turn.example.org")])
def test_a_client_connects(lab, relay, family, port, name):
    server, address = (lab.SERVER4, lab.PEER4) if family == 4 else (lab.SERVER6, lab.PEER6)
    family_wanted = [] if family == 4 else [(turn.REQUESTED_ADDRESS_FAMILY, bytes([2, 0, 0, 0]))]
    peers = listen(lab, address=address)
    client = Client.make(lab, port=port, name=name, server=server)
    relayed = client.allocate_tcp(*family_wanted)
    answer = ok(client.connect_to(*peers.getsockname()[:2]))
    peer, who = accept(peers)
    assert who[:2] == relayed, "from the relayed transport address"
    data = client.bind(answer.get(CONNECTION_ID))
    ok(data.answer)
    assert data.answer.integrity_holds(client.key)
    blob = os.urandom(3_000_000)
    for one, other in ((data.sock, peer), (peer, data.sock)):
        sender = threading.Thread(target=one.sendall, args=(blob,))
        sender.start()
        got = b""
        while len(got) < len(blob):
            got += other.recv(65536)
        sender.join()
        assert got == blob
    client.sock.close()
    assert peer.recv(10) == b"" and data.read(1) == b"", "the allocation's end is theirs"


@pytest.mark.sanitized
def test_a_peer_connects(lab, relay):
    client = Client.make(lab)
    relayed = client.allocate_tcp()
    stranger = dial(lab, *relayed)
    assert stranger.recv(1) == b"", "accepted, and closed"
    ok(client.create_permission(lab.PEER4))
    peer = dial(lab, *relayed)
    connection, who = client.attempt()
    assert who == peer.getsockname()
    assert client.connect_to(*who).error == 446
    data = client.bind(connection)
    ok(data.answer)
    data.sock.sendall(b"hello")
    assert peer.recv(10) == b"hello"
    peer.sendall(b"and back")
    assert data.read(8) == b"and back"
    assert relay.total("turnpike_peer_arrivals_total", result="no_permission") >= 1


@pytest.mark.sanitized
def test_what_is_early_is_kept(lab, relay):
    """The peer's data before the ConnectionBind, even if it has closed by then; the client's right behind it."""
    peers = listen(lab)
    client = Client.make(lab)
    client.allocate_tcp()
    answer = ok(client.connect_to(*peers.getsockname()))
    peer, _ = accept(peers)
    peer.sendall(b"early " * 1000)
    time.sleep(0.1)
    data = client.bind(answer.get(CONNECTION_ID), behind=b"no time to wait")
    ok(data.answer)
    assert data.read(6000) == b"early " * 1000
    assert peer.recv(100) == b"no time to wait"

    answer = ok(client.connect_to(*(second := listen(lab)).getsockname()))
    peer, _ = accept(second)
    peer.sendall(b"hello and goodbye")
    peer.close()
    time.sleep(0.1)
    data = client.bind(answer.get(CONNECTION_ID))
    ok(data.answer)
    assert data.read(100) == b"hello and goodbye"


@pytest.mark.sanitized
@pytest.mark.parametrize("name", [None, "turn.example.org"])
@pytest.mark.parametrize("first", ["client", "peer"])
def test_the_end_of_one_side_is_the_others(lab, relay, first, name):
    peers = listen(lab)
    client, data, peer = linked(lab, peers, port=443, name=name)
    blob = os.urandom(2_000_000)
    one, other = (data.sock, peer) if first == "client" else (peer, data.sock)
    other.sendall(b"not read by who closes")

    def speak():
        one.sendall(blob)
        if isinstance(one, ssl.SSLSocket):
            with contextlib.suppress(OSError):  # something is unread
                one.unwrap()
        else:
            one.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=speak)
    sender.start()
    got = b""
    while more := other.recv(65536):
        got += more
    sender.join()
    assert got == blob, "all that was read has been written"
    begin = time.monotonic()
    other.close()
    wait_for(lambda: relay.total("turnpike_peer_connections") == 0, 5, "it is over")
    assert time.monotonic() - begin < 2
    assert ok(client.refresh()).get(turn.LIFETIME), "and the allocation is not"


def test_answers_by_their_codes(lab, relay):
    peers = listen(lab)
    client = Client.make(lab)
    peer = peers.getsockname()
    assert client.request(turn.REFRESH).error == 437
    assert client.connect_to(*peer).error == 437
    for wrong in ((turn.DONT_FRAGMENT, b""), (turn.EVEN_PORT, b"\0"), (turn.RESERVATION_TOKEN, bytes(8))):
        assert client.allocate(wrong, transport=TCP).error == 400
    assert client.allocate((turn.MOBILITY_TICKET, b""), transport=TCP).error == 405
    assert client.allocate(transport=7).error == 442
    by_udp = turn.TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    assert by_udp.allocate(transport=TCP).error == 400
    client.allocate_tcp()
    assert client.channel_bind(0x4000, *peer).error == 400
    assert client.request(CONNECT).error == 400
    assert client.connect_to(lab.PEER6, 80).error == 443
    connected = ok(client.connect_to(*peer))
    assert client.connect_to(*peer).error == 446
    data = client.bind(connected.get(CONNECTION_ID))
    ok(data.answer)
    assert client.connect_to(*peer).error == 446
    closed = listen(lab)
    where = closed.getsockname()
    closed.close()
    assert client.connect_to(*where).error == 447
    assert by_udp.request(CONNECTION_BIND, [(CONNECTION_ID, connected.get(CONNECTION_ID))]).error == 400
    assert client.request(CONNECTION_BIND).error == 400


def test_strangers_bind_nothing(lab, relay):
    peers = listen(lab)
    client = Client.make(lab)
    client.allocate_tcp()
    answer = ok(client.connect_to(*peers.getsockname()))
    connection = answer.get(CONNECTION_ID)
    assert client.bind(connection, username="bob", password="secret2").answer.error == 400
    stranger = Client.make(lab)
    guess = struct.unpack("!I", connection)[0]
    for i in range(1, 50):
        wrong = struct.pack("!I", (guess + i) & 0xFFFFFFFF)
        assert stranger.request(CONNECTION_BIND, [(CONNECTION_ID, wrong)]).error == 400
    ok(client.bind(connection).answer)


WRITTEN = [
    "127.0.0.1", "127.0.0.2", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "192.168.0.1",
]  # fmt: skip


def disguises(address):
    packed = ipaddress.ip_address(address).packed
    yield "::ffff:" + address
    yield "::" + address
    yield "::ffff:0:" + address
    yield "64:ff9b::" + address
    yield str(ipaddress.IPv6Address(bytes.fromhex("2002") + packed + bytes(10)))
    yield str(ipaddress.IPv6Address(bytes.fromhex("0064ff9b0001") + packed[:2] + b"\0" + packed[2:] + bytes(5)))
    yield str(ipaddress.IPv6Address(bytes.fromhex("20010000") + bytes(8) + bytes(byte ^ 0xFF for byte in packed)))
    yield str(ipaddress.IPv6Address(bytes.fromhex("20010db8000000000000")[:8] + bytes.fromhex("00005efe") + packed))


def test_peer_rules_hold_in_every_written_form(lab, relay):
    four, six = Client.make(lab), Client.make(lab)
    four.allocate_tcp()
    six.allocate_tcp((turn.REQUESTED_ADDRESS_FAMILY, bytes([2, 0, 0, 0])))
    for address in WRITTEN:
        assert four.connect_to(address, 22).error == 403, address
        for written in disguises(address):
            assert six.connect_to(written, 22).error == 403, written
            assert four.connect_to(written, 22).error == 443, written
    for address in ("::", "::1", "fe80::1", "fe80::2", "ff02::1", "fec0::1", "fc00::1"):
        assert six.connect_to(address, 22).error == 403, address
    assert six.connect_to(lab.PEER4, 22).error == 443


def test_the_own_host_is_out_of_reach(fresh_lab, start):
    """What listens like an ssh daemon, at every address that the host has, by whatever name."""
    lab = fresh_lab
    lab.relay.ip("addr", "add", "10.201.9.1/32", "dev", "lo")
    lab.relay.ip("addr", "add", "10.201.2.77/24", "dev", "south")
    lab.relay.ip("route", "add", "local", "10.201.10.0/24", "dev", "lo")  # of no interface
    with lab.relay.inside():
        inside = socket.create_server(("0.0.0.0", 2222))
        inside6 = socket.create_server(("::", 2222), family=socket.AF_INET6)
        hidden = socket.create_server((lab.RELAY4, 50001))  # at a relay port that nobody has
    inside.setblocking(False)
    inside6.setblocking(False)
    hidden.setblocking(False)
    listed = f'own_host_peers = ["{lab.RELAY4}:2222", "127.0.0.1:2222"]\n'
    own = [lab.SERVER4, lab.RELAY4, "127.0.0.1", "10.201.9.1", "10.201.2.77", "10.201.10.5"]
    relay = start(FAST + '[peers]\nallow = ["10.0.0.0/8", "fd20::/16", "127.0.0.0/8", "::1/128"]\n')
    client, six = Client.make(lab), Client.make(lab)
    client.allocate_tcp()
    six.allocate_tcp((turn.REQUESTED_ADDRESS_FAMILY, bytes([2, 0, 0, 0])))
    for address in own:
        for port in (2222, 9641, 3478):
            assert client.connect_to(address, port).error == 403, (address, port)
    for address in (lab.SERVER6, lab.RELAY6, "::1"):
        assert six.connect_to(address, 2222).error == 403, address
    assert client.connect_to(lab.RELAY4, 50001).error == 403
    for sock in (inside, inside6, hidden):
        with pytest.raises(BlockingIOError):
            sock.accept()
    assert relay.total("turnpike_refused_peers_total", reason="own_host") > 0
    relay.stop()
    relay = start(FAST + listed)
    client = Client.make(lab)
    client.allocate_tcp()
    inside.settimeout(5)
    for address in (lab.RELAY4, "127.0.0.1"):
        ok(client.connect_to(address, 2222))
        accept(inside)
    assert client.connect_to(lab.RELAY4, 2223).error == 403
    assert client.connect_to(lab.SERVER4, 2222).error == 403
    for sock in (inside, inside6, hidden):
        sock.close()


def test_unbound_ones_end(fresh_lab, start):
    lab = fresh_lab
    relay = start(RELAY + "[test]\ntime_scale = 10\n")
    peers = listen(lab)
    client = Client.make(lab)
    relayed = client.allocate_tcp()
    ok(client.create_permission(lab.PEER4))
    begin = time.monotonic()
    answer = ok(client.connect_to(*peers.getsockname()))
    peer, _ = accept(peers)
    caller = dial(lab, *relayed)
    connection, _ = client.attempt()
    assert peer.recv(1) == b"" and caller.recv(1) == b""
    assert 2.9 < time.monotonic() - begin < 4.5, "30 s of the engine's clock"
    for one in (answer.get(CONNECTION_ID), connection):
        assert client.bind(one).answer.error == 400
    assert relay.total("turnpike_peer_connections_unbound_total") == 2
    # Nobody answers at that address.
    begin = time.monotonic()
    lab.peer.exec("ip", "route", "add", "blackhole", "10.201.1.0/24")
    assert client.connect_to("10.201.2.200", 80).error == 447
    assert 2.0 < time.monotonic() - begin < 5
    nothing = relay.total("turnpike_peer_connections")
    assert nothing == 0


def test_is_off_unless_it_is_switched_on(fresh_lab, start):
    start("")
    assert Client.make(fresh_lab).allocate(transport=TCP).error == 442
