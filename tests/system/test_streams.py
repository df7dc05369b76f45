"""Clients that come by TCP and TLS: coturn's own, and one that cuts its messages as it likes."""

import contextlib
import ipaddress
import os
import re
import resource
import signal
import socket
import ssl
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import turn_client as turn
from certificates import authority, make_certificate
from lab import DRIVERS, wait_for
from turn_client import TurnClient


def listeners(lab, certificates=(), extra=""):
    text = extra
    for address in (lab.SERVER4, f"[{lab.SERVER6}]"):
        for port, transport in ((3478, "udp"), (3478, "tcp"), (5349, "tls"), (443, "auto")):
            if certificates or transport in ("udp", "tcp"):
                text += f'[[listener]]\naddress = "{address}:{port}"\ntransport = "{transport}"\n'
    for chain, key in certificates:
        text += f'[[certificate]]\nchain = "{chain}"\nkey = "{key}"\n'
    return text


@pytest.fixture(scope="module", params=DRIVERS)
def relay(request, lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    config = folder / "streams.toml"
    certificates = [
        make_certificate(folder, "turn.example.org", lab.SERVER4),
        make_certificate(folder, "other.example.org"),
    ]
    config.write_text(listeners(lab, certificates))
    relay = lab.start_relay("--config", config, driver=request.param, listen=[])
    relay.authority = authority(folder)[0]
    peer = lab.peer.start("turnutils_peer", "-L", lab.PEER4, "-L", lab.PEER6, "-p", "3480")
    wait_for(lambda: ":3480" in lab.peer.exec("ss", "-Huln").stdout, 5, "turnutils_peer listening")
    yield relay
    assert relay.stop() == 0, relay.output()
    peer.kill()


def uclient(lab, *flags, server=None, peer=None):
    command = ["turnutils_uclient", "-u", "alice", "-w", "secret", "-e", peer or lab.PEER4, "-r", "3480"]
    command += ["-n", "50", "-m", "2", "-l", "160", "-z", "5", *flags, server or lab.SERVER4]
    # By TLS it takes one message of a record and loses what comes with it, as messages do on a host that is shared.
    for tries in range(4 if "-S" in flags else 1, 0, -1):
        output = lab.client.exec(*command, check=False, timeout=60).stdout
        sent = re.findall(r"tot_send_msgs=(\d+)", output)
        received = re.findall(r"tot_recv_msgs=(\d+)", output)
        lost = re.search(r"Total lost packets (\d+)", output)
        assert sent and received and lost, output[-3000:]
        if tries == 1 or int(lost[1]) == 0:
            break
    assert int(sent[-1]) == int(received[-1]) > 0 and int(lost[1]) == 0, output[-3000:]


def uclient_by_both_families(lab, *flags):
    with ThreadPoolExecutor(2) as pool:
        v4 = pool.submit(uclient, lab, *flags)
        uclient(lab, *flags, "-x", server=lab.SERVER6, peer=lab.PEER6)
        v4.result()


@pytest.mark.parametrize(
    "how",
    [
        ["-t"],
        ["-t", "-s"],
        ["-t", "-D"],
        ["-t", "-y"],
        ["-t", "-S", "-p", "5349"],
        ["-t", "-S", "-s", "-p", "443"],
        ["-t", "-p", "443"],
    ],
    ids=" ".join,
)
def test_uclient(lab, relay, how):
    uclient_by_both_families(lab, *how)


class Streaming(TurnClient):
    """A client with a stream: what it sends can be cut anywhere."""

    def __init__(self, sock, server, **options):
        super().__init__(sock, server, **options)
        self.bytes = b""

    @classmethod
    def connect(cls, lab, port=3478, name=None, server=None, protocols=("stun.turn",), **options):
        with lab.client.inside():
            sock = socket.create_connection((server or lab.SERVER4, port), timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if name is not None:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(protocols)
            sock = context.wrap_socket(sock, server_hostname=name or None)
        sock.settimeout(5)
        return cls(sock, None, **options)

    def send_raw(self, raw):
        self.sock.sendall(raw + bytes(-len(raw) % 4))

    def next_message(self):
        def need(count):
            while len(self.bytes) < count:
                more = self.sock.recv(65536)
                assert more, "the relay has closed the connection"
                self.bytes += more

        need(4)
        kind, size = struct.unpack("!HH", self.bytes[:4])
        whole = 4 + size if kind >= 0x4000 else 20 + size
        taken = (whole + 3) // 4 * 4
        need(taken)
        message, self.bytes = self.bytes[:whole], self.bytes[taken:]
        return message

    def receive(self, transaction):
        while True:
            data = self.next_message()
            if data[0] < 4 and data[8:20] == transaction:
                return turn.Message(data)
            self.other.append(data)

    def receive_any(self):
        data = self.other.pop(0) if self.other else self.next_message()
        if data[0] < 4:
            return turn.Message(data)
        number, size = struct.unpack("!HH", data[:4])
        return "channel", number, data[4 : 4 + size]


def ok(answer):
    assert answer.error is None, answer.attributes
    return answer


def test_messages_cut_anywhere_and_put_together(lab, relay):
    client = Streaming.connect(lab)
    ok(client.allocate())
    peer = lab.peer.udp(lab.PEER4)
    ok(client.channel_bind(0x4001, *peer.getsockname()))
    # One byte at a time, padding in a segment of its own.
    for byte in struct.pack("!HH", 0x4001, 5) + b"hello":
        client.sock.sendall(bytes([byte]))
        time.sleep(0.002)
    assert peer.recvfrom(100)[0] == b"hello"
    client.sock.sendall(b"\0\0")
    time.sleep(0.01)
    client.sock.sendall(b"\0")
    # Many in one segment.
    one = [
        struct.pack("!HH", 0x4001, len(text)) + text + bytes(-len(text) % 4)
        for text in (b"a", b"bb", b"ccc", b"", b"dddd")
    ]
    client.sock.sendall(b"".join(one))
    found = [peer.recvfrom(100) for _ in range(5)]
    assert [data for data, _ in found] == [b"a", b"bb", b"ccc", b"", b"dddd"]
    for text in (b"x", b"yy", b"zzzzz"):
        peer.sendto(text, found[0][1])
    assert [client.receive_any()[2] for _ in range(3)] == [b"x", b"yy", b"zzzzz"]


@pytest.mark.sanitized
def test_the_end_of_a_connection_is_the_allocations(lab, relay):
    wait_for(lambda: relay.total("turnpike_allocations") == 0, 5, "earlier tests' ended")
    clients = [Streaming.connect(lab) for _ in range(20)]
    for client in clients:
        ok(client.allocate())
    assert relay.total("turnpike_allocations") == 20
    for number, client in enumerate(clients):
        if number % 2:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sock.close()
    wait_for(lambda: relay.total("turnpike_allocations") == 0, 5, "allocations ended")


@pytest.mark.parametrize("name", ["turn.example.org", "other.example.org", "unknown.example.org"])
def test_certificates_by_name(lab, relay, name):
    client = Streaming.connect(lab, 5349, name)
    shown = ssl.DER_cert_to_PEM_cert(client.sock.getpeercert(binary_form=True))
    subject = subprocess.run(
        ["openssl", "x509", "-noout", "-subject"], input=shown, text=True, capture_output=True
    ).stdout
    assert ("turn.example.org" if name.startswith("unknown") else name) in subject
    assert client.sock.selected_alpn_protocol() == "stun.turn"
    ok(client.allocate())


def test_clients_without_a_name_or_with_anothers_protocols_are_let_in(lab, relay):
    client = Streaming.connect(lab, 5349, "", protocols=("h2", "http/1.1"))
    shown = client.sock.getpeercert(binary_form=True)
    assert shown == Streaming.connect(lab, 5349, "turn.example.org").sock.getpeercert(binary_form=True), "the first"
    assert client.sock.selected_alpn_protocol() is None
    ok(client.allocate())


def test_what_is_not_stun_ends_the_connection(lab, relay):
    for first in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x10hello",
        bytes([0x80]) * 20,
        struct.pack("!HHI", 1, 0, 7) + bytes(12),
    ):
        client = Streaming.connect(lab)
        client.sock.sendall(first)
        assert client.sock.recv(100) == b""
    assert relay.total("turnpike_stream_ends_total", reason="not_stun") >= 4


def test_alerts_are_told_by_name(lab, relay):
    with lab.client.inside():
        sock = socket.create_connection((lab.SERVER4, 5349), timeout=5)
    before = relay.total("turnpike_tls_alerts_total", alert="unknown_ca")
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(sock, server_hostname="turn.example.org")
    wait_for(
        lambda: relay.total("turnpike_tls_alerts_total", **{"from": "client", "alert": "unknown_ca"}) == before + 1,
        5,
        "the alert counted",
    )


@pytest.fixture
def start(fresh_lab, tmp_path):
    """A relay with configuration of its own: start(text)."""
    with contextlib.ExitStack() as stack:

        def start(text, certificates=()):
            config = tmp_path / "streams.toml"
            config.write_text(listeners(fresh_lab, certificates, text))
            relay = fresh_lab.start_relay("--config", config, listen=[])
            stack.callback(relay.kill)
            return relay

        yield start


def ends(relay, reason):
    return relay.total("turnpike_stream_ends_total", reason=reason)


def test_certificates_are_read_again(fresh_lab, start, tmp_path):
    lab = fresh_lab
    first = make_certificate(tmp_path, "turn.example.org")
    relay = start("", [first])
    before = Streaming.connect(lab, 5349, "turn.example.org")
    ok(before.allocate())
    shown = before.sock.getpeercert(binary_form=True)
    make_certificate(tmp_path, "turn.example.org")
    relay.process.send_signal(signal.SIGHUP)
    wait_for(
        lambda: Streaming.connect(lab, 5349, "turn.example.org").sock.getpeercert(binary_form=True) != shown,
        5,
        "another certificate",
    )
    # One that is wrong changes nothing, and is told.
    first[1].write_text("no key")
    relay.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "expected the private key" in relay.output(), 5, "a complaint")
    ok(Streaming.connect(lab, 5349, "turn.example.org").allocate())
    ok(before.refresh())


def test_clients_may_have_to_show_a_certificate(fresh_lab, start, tmp_path):
    lab = fresh_lab
    (tmp_path / "others").mkdir()
    trusted = make_certificate(tmp_path, "phone.example.org", usage="clientAuth")
    strange = make_certificate(tmp_path / "others", "phone.example.org", usage="clientAuth")
    relay = start(
        f'[streams]\nclient_authorities = "{authority(tmp_path)[0]}"\n',
        [make_certificate(tmp_path, "turn.example.org")],
    )

    def comes(certificate):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # by 1.3 a client hears of it with its first answer
        if certificate:
            context.load_cert_chain(*certificate)
        with lab.client.inside():
            sock = socket.create_connection((lab.SERVER4, 5349), timeout=5)
        client = Streaming(context.wrap_socket(sock), None)
        ok(client.allocate())
        ok(client.refresh(0))

    comes(trusted)
    for certificate in (None, strange):
        before = ends(relay, "tls")
        with pytest.raises(ssl.SSLError):
            comes(certificate)
        wait_for(lambda: ends(relay, "tls") == before + 1, 5, "an end by TLS")
    assert relay.total("turnpike_tls_alerts_total", **{"from": "relay"}) >= 2


def test_who_says_nothing_is_not_waited_for(fresh_lab, start, tmp_path):
    lab = fresh_lab
    relay = start("[streams]\nhandshake_s = 1\nidle_s = 2\n", [make_certificate(tmp_path, "turn.example.org")])
    silent = [Streaming.connect(lab, port) for port in (3478, 5349, 443)]
    silent[1].sock.sendall(b"\x16\x03\x01")  # a hello that doesn't come to its end
    silent[2].sock.sendall(b"\x00")
    owner, guest = Streaming.connect(lab), Streaming.connect(lab)
    ok(owner.allocate())
    ok(guest.request(turn.BINDING, authenticate=False))
    wait_for(lambda: ends(relay, "handshake") == 3, 5, "those who said nothing closed")
    wait_for(lambda: ends(relay, "idle") == 1, 5, "who has no allocation closed")
    time.sleep(2)
    ok(owner.refresh())


def test_connections_are_limited_by_source_and_in_all(fresh_lab, start):
    lab = fresh_lab
    relay = start("[streams]\nconnections = 6\nconnections_per_source = 4\n")
    clients = [Streaming.connect(lab) for _ in range(4)]
    for client in clients:
        ok(client.allocate())
    assert Streaming.connect(lab).sock.recv(1) == b""
    assert ends(relay, "source") == 1
    six = [Streaming.connect(lab, server=lab.SERVER6) for _ in range(2)]
    for client in six:
        ok(client.request(turn.BINDING, authenticate=False))
    assert Streaming.connect(lab, server=lab.SERVER6).sock.recv(1) == b""
    assert ends(relay, "full") == 1
    clients[0].sock.close()
    wait_for(lambda: ends(relay, "client") >= 1, 5, "one closed")
    ok(Streaming.connect(lab).allocate())


def is_closed(client):
    """By the relay, which may not have read all."""
    try:
        return client.sock.recv(1) == b""
    except ConnectionResetError:
        return True


def through_proxy(lab, header, **where):
    client = Streaming.connect(lab, **where)
    client.sock.sendall(header)
    return client


def test_a_proxys_clients_are_known_by_their_own_addresses(fresh_lab, start):
    lab = fresh_lab
    relay = start(f'[streams]\nconnections_per_source = 2\nproxies = ["{lab.CLIENT4}"]\n')
    line = f"PROXY TCP4 198.18.0.7 {lab.SERVER4} 4321 3478\r\n".encode()
    first = through_proxy(lab, line[:20])
    time.sleep(0.05)
    first.sock.sendall(line[20:])
    answer = ok(first.request(turn.BINDING, authenticate=False))
    assert answer.address(turn.XOR_MAPPED_ADDRESS) == ("198.18.0.7", 4321)
    ok(first.allocate())
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    six = ipaddress.ip_address("2001:db8:7::1").packed + ipaddress.ip_address(lab.SERVER6).packed + b"\x10\xe1\x0d\x96"
    client = through_proxy(lab, signature + struct.pack("!BBH", 0x21, 0x21, len(six)) + six)
    answer = ok(client.request(turn.BINDING, authenticate=False))
    assert answer.address(turn.XOR_MAPPED_ADDRESS) == ("2001:db8:7::1", 4321)
    ok(client.allocate())
    local = through_proxy(lab, signature + struct.pack("!BBH", 0x20, 0, 0))
    answer = ok(local.request(turn.BINDING, authenticate=False))
    assert answer.address(turn.XOR_MAPPED_ADDRESS)[0] == lab.CLIENT4
    # A client's limits are its own.
    second = through_proxy(lab, line.replace(b"4321", b"4322"))
    ok(second.request(turn.BINDING, authenticate=False))
    assert is_closed(through_proxy(lab, line.replace(b"4321", b"4323")))
    # Who comes from where another one stands takes his place.
    first = through_proxy(lab, line)
    ok(first.request(turn.BINDING, authenticate=False))
    # The header is a must for a proxy, and for nobody else.
    client = Streaming.connect(lab)
    client.send_raw(turn.build(turn.BINDING, turn.REQUEST, os.urandom(12), []))
    assert is_closed(client)
    assert is_closed(through_proxy(lab, line, server=lab.SERVER6))
    assert (ends(relay, "source"), ends(relay, "proxy"), ends(relay, "not_stun")) == (1, 1, 1)


def test_who_reads_nothing_loses_whole_messages_alone(fresh_lab, start):
    lab = fresh_lab
    relay = start("[streams]\nwaiting_kib = 16\n")
    slow, quick = Streaming.connect(lab), Streaming.connect(lab)
    peer = lab.peer.udp(lab.PEER4)
    for client in (slow, quick):
        ok(client.allocate())
        ok(client.channel_bind(0x4000, *peer.getsockname()))
        client.channel_data(0x4000, b"hello")
    relayed = [peer.recvfrom(100)[1] for _ in range(2)]
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sent = 0

    def flood():
        nonlocal sent
        for _ in range(200):
            peer.sendto(struct.pack("!I", sent) + bytes(1000), relayed[0])
            sent += 1
        time.sleep(0.02)
        return relay.total("turnpike_stream_lost_messages_total", reason="slow") > 50

    wait_for(flood, 20, "messages lost")
    peer.sendto(b"and you", relayed[1])
    assert quick.receive_any() == ("channel", 0x4000, b"and you")
    # An answer comes behind what waits, and all that comes is whole and in order.
    raw = turn.build(turn.BINDING, turn.REQUEST, os.urandom(12), [])
    slow.send_raw(raw)
    ok(slow.receive(raw[8:20]))
    numbers = [struct.unpack("!I", data[4:8])[0] for data in slow.other]
    assert numbers == sorted(set(numbers)) and 0 < len(numbers) < sent


def test_messages_that_no_frame_holds_are_lost_alone(fresh_lab, start):
    lab = fresh_lab
    relay = start("")
    client = Streaming.connect(lab)
    peer = lab.peer.udp(lab.PEER4)
    ok(client.allocate())
    ok(client.channel_bind(0x4000, *peer.getsockname()))
    client.channel_data(0x4000, bytes(60000))
    for size in (1900, 1980, 1981, 10000):
        client.channel_data(0x4000, b"x" * size)
        assert peer.recvfrom(20000)[0] == b"x" * size, "in fragments"
    client.channel_data(0x4000, bytes(16384))
    client.channel_data(0x4000, bytes(16000))  # in more pieces than are made of anything
    wait_for(lambda: relay.total("turnpike_dropped_packets_total", reason="too_big") == 1, 5, "told")
    assert relay.total("turnpike_stream_lost_messages_total", reason="too_long") == 2


def cpu_s(relay, thread):
    """What the thread of that name has used."""
    for task in Path(f"/proc/{relay.process.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == thread:
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    raise AssertionError(f"there is no {thread}")


def test_descriptors_used_up_are_told_once(fresh_lab, start):
    lab = fresh_lab
    relay = start("")
    pid = relay.process.pid  # `ip netns exec` becomes the program
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 3, hard))
    clients = [Streaming.connect(lab) for _ in range(6)]
    wait_for(lambda: relay.output().count("no connection can be let in") == 1, 5, "told")
    before = cpu_s(relay, "transport-0")
    time.sleep(1)
    assert cpu_s(relay, "transport-0") - before < 0.2, "it looks again and again"
    assert relay.output().count("no connection can be let in") == 1
    for client in clients[:3]:
        client.sock.close()
    for client in clients[3:]:
        ok(client.request(turn.BINDING, authenticate=False))
        client.sock.close()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))  # for the metrics' own
    assert relay.total("turnpike_stream_no_descriptor_total") > 2
