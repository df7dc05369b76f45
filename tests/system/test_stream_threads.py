"""Streams by three transport threads: a client's is chosen by his address and port, so that whoever has several
connections is at several of them. What holds by one thread holds by three."""

import os
import socket
import ssl
from pathlib import Path

import pytest

import turn_client as turn
from certificates import authority, make_certificate
from lab import wait_for
from test_stream_agents import test_aioice_agents_that_meet_through_the_relay_alone
from test_streams import (
    Streaming,
    listeners,
    ok,
    test_a_proxys_clients_are_known_by_their_own_addresses,
    test_certificates_are_read_again,
    test_connections_are_limited_by_source_and_in_all,
    test_messages_cut_anywhere_and_put_together,
    test_the_end_of_a_connection_is_the_allocations,
    test_who_reads_nothing_loses_whole_messages_alone,
)
from test_tcp_relay import (
    CONNECTION_ID,
    FAST,
    Client,
    accept,
    listen,
    nothing_left,
    test_a_client_connects,
    test_a_peer_connects,
    test_strangers_bind_nothing,
    test_the_end_of_one_side_is_the_others,
    test_what_is_early_is_kept,
)

THREADS = 3
STREAMS = f"[streams]\nthreads = {THREADS}\n"


@pytest.fixture(scope="module")
def relay(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads")
    config = folder / "threads.toml"
    certificates = [
        make_certificate(folder, "turn.example.org", lab.SERVER4),
        make_certificate(folder, "other.example.org"),
    ]
    config.write_text("shards = 3\n" + FAST + listeners(lab, certificates, STREAMS))
    relay = lab.start_relay("--config", config, "--user", "bob:secret2", listen=[])
    relay.authority = authority(folder)[0]
    yield relay
    assert relay.stop() == 0, relay.output()


@pytest.fixture
def start(fresh_lab, tmp_path):
    """A relay with configuration of its own: start(text)."""
    relays = []

    def start(text, certificates=()):
        config = tmp_path / "threads.toml"
        text = text.replace("[streams]\n", STREAMS) if "[streams]\n" in text else STREAMS + text
        config.write_text(listeners(fresh_lab, certificates, text))
        relays.append(fresh_lab.start_relay("--config", config, listen=[]))
        return relays[-1]

    yield start
    for relay in relays:
        relay.kill()


def ran_ns(relay):
    """Of each transport thread."""
    ran = {}
    for task in Path(f"/proc/{relay.process.pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith("transport-"):
            ran[name] = int((task / "schedstat").read_text().split()[0])
    return ran


def test_clients_are_spread_and_reach_each_other(lab, relay):
    before = ran_ns(relay)
    assert len(before) == THREADS
    clients, ports = [], []
    for where in 24 * [(3478,), (5349, "turn.example.org")]:
        clients.append(Streaming.connect(lab, *where))
        ports.append(ok(clients[-1].allocate()).address(turn.XOR_RELAYED_ADDRESS))
        ok(clients[-1].create_permission(ports[-1][0]))
    after = ran_ns(relay)
    assert all(after[name] - before[name] > 1_000_000 for name in before), (before, after)
    for number, client in enumerate(clients):
        ok(client.channel_bind(0x4000, *ports[(number + 1) % len(ports)]))
    for number, client in enumerate(clients):
        client.channel_data(0x4000, b"from %d" % number)
    for number, client in enumerate(clients):
        before = (number - 1) % len(ports)
        message = client.receive_any()
        assert not isinstance(message, tuple), message
        assert message.get(turn.DATA_ATTRIBUTE) == b"from %d" % before
        assert message.address(turn.XOR_PEER_ADDRESS) == ports[before]
    hearts = [name for name in relay.metrics() if "heartbeat_age" in name and "transport" in name]
    assert len(hearts) == THREADS
    for client in clients:
        ok(client.refresh(0))
        client.sock.close()
    wait_for(lambda: relay.total("turnpike_stream_connections") == 0, 5, "all closed")


def test_a_session_is_resumed_at_any_thread(lab, relay):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session, resumed = None, []
    for _ in range(12):
        with lab.client.inside():
            plain = socket.create_connection((lab.SERVER4, 5349), timeout=5)
        with context.wrap_socket(plain, session=session) as sock:
            resumed.append(sock.session_reused)
            session = session or sock.session
    assert resumed == [False] + 11 * [True]


def test_a_client_moves_between_threads(lab, relay):
    peer, streams = lab.peer.udp(lab.PEER4), [Streaming.connect(lab)]
    answer = ok(streams[0].allocate((turn.MOBILITY_TICKET, b"")))
    relayed, ticket = answer.address(turn.XOR_RELAYED_ADDRESS), answer.get(turn.MOBILITY_TICKET)
    ok(streams[0].channel_bind(0x4000, *peer.getsockname()))
    for number in range(10):
        streams.append(Streaming.connect(lab))
        ticket = ok(streams[-1].refresh(600, (turn.MOBILITY_TICKET, ticket))).get(turn.MOBILITY_TICKET)
        streams[-1].channel_data(0x4000, b"up %d" % number)
        assert peer.recvfrom(100) == (b"up %d" % number, relayed)

        def reaches():
            peer.sendto(b"down %d" % number, relayed)
            streams[-1].sock.settimeout(0.2)
            try:
                return streams[-1].receive_any() == ("channel", 0x4000, b"down %d" % number)
            except TimeoutError:
                return False

        wait_for(reaches, 5, f"the peer's data after move {number}")
        streams[-1].sock.settimeout(5)
        # The end of one that it has left is nothing to it.
        streams[number].sock.close()
    ok(streams[-1].refresh(0))


def test_data_connections_at_other_threads(lab, relay):
    """Each is bound where it is, and ends with the allocation."""
    client = Client.make(lab)
    client.allocate_tcp()
    pairs = []
    for number in range(12):
        others = listen(lab)
        answer = ok(client.connect_to(*others.getsockname()))
        peer, _ = accept(others)
        peer.sendall(b"early %02d" % number)
        pairs.append((client.bind(answer.get(CONNECTION_ID), behind=b"behind %02d" % number), peer))
        ok(pairs[-1][0].answer)
    for number, (data, peer) in enumerate(pairs):
        assert data.read(8) == b"early %02d" % number
        assert peer.recv(100) == b"behind %02d" % number
    blob = os.urandom(300_000)
    for data, peer in pairs:
        peer.sendall(blob[:100_000])
        assert data.read(100_000) == blob[:100_000]
    assert relay.total("turnpike_peer_connections") == len(pairs)
    # One side's end is the other's, whichever thread has it.
    for data, peer in pairs[:6]:
        peer.close()
        assert data.read(1) == b""
    pairs = pairs[6:]
    client.sock.close()
    for data, peer in pairs:
        assert data.read(1) == b"" and peer.recv(1) == b""
    nothing_left(relay)
