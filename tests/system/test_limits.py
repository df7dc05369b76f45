"""Every limit driven past its edge: the error that its client gets, the metric that names it, and what works all the
same; and of bandwidth and packet rates how much passes, over two workers together."""

import itertools
import math
import time

import pytest

import turn_client as turn
from lab import wait_for
from turn_client import TurnClient

PAIR = (turn.EVEN_PORT, b"\x80")
IPV6 = (turn.REQUESTED_ADDRESS_FAMILY, b"\x02\0\0\0")


class Node:
    """A relay of its own configuration, and clients that are gone when the test is."""

    def __init__(self, lab, relay):
        self.lab, self.relay, self.sockets = lab, relay, []

    def socket(self, host, address):
        self.sockets.append(host.udp(address))
        return self.sockets[-1]

    def client(self, username="alice", address=None):
        address = address or self.lab.CLIENT4
        server = self.lab.SERVER6 if ":" in address else self.lab.SERVER4
        return TurnClient(self.socket(self.lab.client, address), (server, 3478), username=username)

    def refusals(self, limit):
        return self.relay.total("turnpike_limit_refusals_total", limit=limit)

    def refused(self, limit, code, ask):
        """`ask` is refused by `limit`, which counts it, and no other does."""
        before, all_before = self.refusals(limit), self.relay.total("turnpike_limit_refusals_total")
        answer = ask()
        assert answer.error == code, answer.attributes
        assert self.refusals(limit) == before + 1
        assert self.relay.total("turnpike_limit_refusals_total") == all_before + 1

    def relays(self, client):
        """Whether the client's channel 0x7000 to a peer of its own carries both ways."""
        peer = self.socket(self.lab.peer, self.lab.PEER4)
        assert client.channel_bind(0x7000, *peer.getsockname()).error is None
        client.channel_data(0x7000, b"there")
        data, relayed = peer.recvfrom(100)
        peer.sendto(b"back", relayed)
        return data == b"there" and client.receive_any() == ("channel", 0x7000, b"back")


@pytest.fixture
def start(lab, tmp_path):
    nodes = []

    def start(text, *flags, **options):
        config = tmp_path / "turnpike.toml"
        config.write_text("idle_sleep_us = 50\n" + text)
        nodes.append(Node(lab, lab.start_relay("--config", config, *flags, **options)))
        return nodes[-1]

    yield start
    for node in nodes:
        for sock in node.sockets:
            sock.close()
        assert node.relay.stop() == 0, node.relay.output()


def ok(answer):
    assert answer.error is None, answer.attributes
    return answer


def test_the_nodes_allocations_are_so_many_whatever_shards_they_fall_to(start):
    node = start("shards = 3\n[limits]\nallocations = 30\n")
    clients = [node.client() for _ in range(30)]
    for client in clients:
        ok(client.allocate())
    shards = [node.relay.total("turnpike_allocations", shard=str(shard)) for shard in range(3)]
    assert sum(shards) == 30 and min(shards) > 0, shards
    late = [node.client() for _ in range(6)]
    for client in late:
        node.refused("allocations", 508, client.allocate)
    assert node.relays(clients[0])
    ok(clients[1].refresh(0))
    ok(late[0].allocate())
    node.refused("allocations", 508, late[1].allocate)
    assert node.relays(late[0])


def test_a_users_allocations_permissions_and_channels(start):
    node = start(
        """
[limits]
permissions_per_allocation = 4
permissions_average = 2
channels_per_allocation = 2
channels_average = 1
""",
        "--user-quota",
        "3",
        "--user",
        "bob:secret",
    )
    one, two, three, four = (node.client() for _ in range(4))
    peers = [f"10.201.2.{host}" for host in range(50, 60)]
    for client in (one, two, three):
        ok(client.allocate())
    node.refused("allocations_per_user", 486, four.allocate)
    node.refused("permissions_per_allocation", 508, lambda: one.create_permission(*peers[:5]))
    ok(one.create_permission(*peers[:4]))
    node.refused("permissions_per_allocation", 508, lambda: one.create_permission(peers[4]))
    ok(two.create_permission(*peers[:2]))
    node.refused("permissions_per_user", 508, lambda: two.create_permission(peers[2]))
    node.refused("permissions_per_user", 508, lambda: three.channel_bind(0x4000, peers[0], 9))
    ok(one.create_permission(*peers[:4]))
    for number in (0x4000, 0x4001):
        ok(one.channel_bind(number, peers[0], number))
    node.refused("channels_per_allocation", 508, lambda: one.channel_bind(0x4002, peers[0], 9))
    ok(two.channel_bind(0x4000, peers[0], 9))
    node.refused("channels_per_user", 508, lambda: two.channel_bind(0x4001, peers[0], 10))
    bob = node.client("bob")
    ok(bob.allocate())
    assert node.relays(bob)
    ok(three.refresh(0))
    ok(four.allocate())


def test_an_allocations_peers_on_the_nodes_own_links(start):
    node = start("[limits]\non_link_peers_per_allocation = 3\n")
    one, two = node.client(), node.client()
    ok(one.allocate())
    ok(two.allocate())
    near = [f"10.201.2.{host}" for host in range(50, 60)]
    far = [f"8.8.4.{host}" for host in range(1, 9)]
    node.refused("on_link_peers_per_allocation", 508, lambda: one.create_permission(*near[:4]))
    ok(one.create_permission(*near[:2], *far))
    ok(one.channel_bind(0x4000, near[2], 9))
    node.refused("on_link_peers_per_allocation", 508, lambda: one.create_permission(near[3]))
    node.refused("on_link_peers_per_allocation", 508, lambda: one.channel_bind(0x4001, near[3], 9))
    ok(one.create_permission(*near[:3], *far))
    ok(two.create_permission(*near[3:6]))


def test_a_sources_allocations(start, lab):
    node = start("[limits]\nallocations_per_source = 2\n", "--user", "bob:secret", "--user", "carol:secret")
    neighbour = "fd20:1::77"
    lab.client.ip("addr", "add", f"{neighbour}/64", "dev", "eth0", "nodad")
    try:
        for addresses in ([lab.CLIENT4] * 3, [lab.CLIENT6, neighbour, neighbour]):
            one, two, three = (
                node.client(name, address) for name, address in zip(("alice", "bob", "carol"), addresses)
            )
            ok(one.allocate())
            ok(two.allocate())
            node.refused("allocations_per_source", 486, three.allocate)
            ok(one.refresh(0))
            node.refused("allocations_per_source", 486, lambda: three.allocate(PAIR))
            ok(three.allocate())
            node.refused("allocations_per_source", 486, lambda: one.allocate())
            assert addresses[0] != lab.CLIENT4 or node.relays(three)
    finally:
        lab.client.ip("addr", "del", f"{neighbour}/64", "dev", "eth0")


def test_the_tables_permissions_and_channels(start):
    """Four and two of them, in all."""
    node = start(
        """
[limits]
allocations = 2
permissions_per_allocation = 4
permissions_average = 1
channels_per_allocation = 2
channels_average = 1
"""
    )
    one, two = node.client(), node.client()
    ok(one.allocate())
    ok(two.allocate())
    node.refused("allocations", 508, node.client().allocate)
    peers = [f"10.201.2.{host}" for host in range(50, 60)]
    ok(one.create_permission(*peers[:3]))
    for number in (0x4000, 0x4001):
        ok(one.channel_bind(number, peers[0], number))
    ok(two.create_permission(peers[0]))
    node.refused("channels", 508, lambda: two.channel_bind(0x4000, peers[0], 9))
    node.refused("permissions", 508, lambda: two.create_permission(peers[1]))
    node.refused("permissions", 508, lambda: two.channel_bind(0x4000, peers[1], 9))
    ok(two.create_permission(peers[0]))
    ok(one.refresh(0))
    wait_for(lambda: two.channel_bind(0x7000, peers[1], 9).error is None, 5, "what the first had is the second's")


def test_reservations_and_ports(start):
    node = start("[relay_ports]\nmin = 50000\nmax = 50063\n")
    for _ in range(32):
        ok(node.client().allocate(PAIR))
    node.refused("reservations", 508, lambda: node.client().allocate(PAIR))
    node.refused("ports", 508, lambda: node.client().allocate())
    node.refused("ports", 508, lambda: node.client().allocate((turn.EVEN_PORT, b"\0")))
    other = node.client()
    ok(other.allocate(IPV6))
    both = node.client().allocate((turn.ADDITIONAL_ADDRESS_FAMILY, b"\x02\0\0\0"))
    assert both.error is None and both.get(turn.ADDRESS_ERROR_CODE)[2:4] == b"\x05\x08"
    assert node.refusals("ports") == 3


# --- What is relayed

USERS = [f"user{i}" for i in range(16)]
WORKERS = 2
PER_SECOND = {  # bytes of IP and packets, of an allocation and of a user
    ("allocation", "bandwidth"): 100_000,
    ("allocation", "packet_rate"): 400,
    ("user", "bandwidth"): 150_000,
    ("user", "packet_rate"): 600,
}
BURST_S = 1
SECONDS = 3


@pytest.fixture(scope="module")
def metered(lab, tmp_path_factory):
    """Two queues on each side, which share the flows out between two workers."""
    config = tmp_path_factory.mktemp("metered") / "turnpike.toml"
    keys = "".join(
        f"{kind}_per_{level} = {rate * 8 if kind == 'bandwidth' else rate}\n"
        for (level, kind), rate in PER_SECOND.items()
    )
    ports = "".join(f'[[port]]\ndevice = "af_packet:{name}"\nqueues = 2\n' for name in ("north", "south"))
    config.write_text(f"workers = {WORKERS}\nidle_sleep_us = 50\n{ports}[limits]\n{keys}burst_ms = {BURST_S * 1000}\n")
    users = itertools.chain.from_iterable(("--user", f"{name}:secret") for name in USERS)
    relay = lab.start_relay("--config", config, *users, ports=())
    yield Node(lab, relay)
    assert relay.stop() == 0, relay.output()


CASES = list(
    itertools.product(("allocation", "user"), ("bandwidth", "packet_rate"), ("to_peer", "to_client"), ("IPv4", "IPv6"))
)


def flows(node, user, family, count):
    """So many allocations, each with four peers; both ends of every flow, as functions that send a payload."""
    lab = node.lab
    here, there = (lab.CLIENT6, lab.PEER6) if family == "IPv6" else (lab.CLIENT4, lab.PEER4)
    up, down, clients, peers = [], [], [], []
    for _ in range(count):
        client = node.client(user, here)
        relayed = ok(client.allocate(*([IPV6] if family == "IPv6" else []))).address(turn.XOR_RELAYED_ADDRESS)
        clients.append(client.sock)
        for number in range(0x4000, 0x4004):
            peer = node.socket(lab.peer, there)
            ok(client.channel_bind(number, *peer.getsockname()[:2]))
            peers.append(peer)
            up.append(lambda data, c=client, n=number: c.channel_data(n, data))
            down.append(lambda data, p=peer, r=relayed: p.sendto(data, r))
    for sock in clients + peers:
        sock.setblocking(False)
    return up, down, clients, peers


@pytest.mark.parametrize("level, kind, direction, family", CASES)
def test_what_passes_is_the_burst_and_the_rate(metered, level, kind, direction, family):
    user = USERS[CASES.index((level, kind, direction, family))]
    up, down, clients, peers = flows(metered, user, family, 1 if level == "allocation" else 4)
    senders, receivers = (up, peers) if direction == "to_peer" else (down, clients)
    framing = 0 if direction == "to_peer" else 4
    header = 48 if family == "IPv6" else 28
    payload = bytes(1000 if kind == "bandwidth" else 8)
    unit = header + len(payload) if kind == "bandwidth" else 1
    rate = PER_SECOND[level, kind]
    reasons = [f"{each}_{kind}" for each in ("allocation", "user")]

    def dropped():
        return sum(metered.relay.total("turnpike_dropped_packets_total", reason=reason) for reason in reasons)

    def by_worker():
        return [
            metered.relay.total("turnpike_worker_received_packets_total", worker=str(worker))
            for worker in range(WORKERS)
        ]

    dropped_before, received_before = dropped(), by_worker()
    named_before = metered.relay.total("turnpike_dropped_packets_total", reason=f"{level}_{kind}")
    passed = sent = 0
    last = 0.0

    def drain():
        nonlocal passed, last
        for sock in receivers:
            try:
                while True:
                    data = sock.recv(4000)
                    passed += len(data) == len(payload) + framing
                    last = time.monotonic()
            except BlockingIOError:
                pass

    # Three times what may pass, evenly.
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + SECONDS:
        while sent < 3 * rate / unit * (now - begin):
            senders[sent % len(senders)](payload)
            sent += 1
        sent_until = time.monotonic()
        drain()
        time.sleep(0.002)
    wait_for(lambda: drain() or passed + dropped() - dropped_before == sent, 10, "each packet has passed or is counted")
    for sock in metered.sockets:
        sock.close()
    metered.sockets.clear()

    most = rate * (BURST_S + math.ceil((last - begin) * 1000) / 1000)
    least = rate * (BURST_S + sent_until - begin) - 4 * WORKERS * (unit + rate / 500)
    assert least <= passed * unit <= most, (passed, sent, last - begin)
    assert metered.relay.total("turnpike_dropped_packets_total", reason=f"{level}_{kind}") > named_before
    worked = [after - before for after, before in zip(by_worker(), received_before)]
    # A few flows may fall to one worker.
    assert direction == "to_peer" or level == "allocation" or min(worked) > sent / 20, worked
