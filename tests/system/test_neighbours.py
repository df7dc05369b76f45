"""Peers on the relay's own link: permissions ask for nobody, and what has ended is given back."""

from lab import wait_for
from turn_client import TurnClient
import turn_client as turn

PERMISSIONS = 200


def entries(lab):
    return len(lab.relay.ip("neigh", "show", "dev", "south").stdout.splitlines())


def hops(relay):
    return relay.total("turnpike_pool_used", pool="next_hops")


def test_permissions_for_the_whole_link_ask_for_nobody_and_are_given_back(fresh_lab, tmp_path):
    lab = fresh_lab
    clock = tmp_path / "clock.toml"
    clock.write_text("[limits]\non_link_peers_per_allocation = 0\n[test]\ntime_scale = 30\n")
    relay = lab.start_relay("--config", clock)
    client = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    client.allocate()
    before, used = entries(lab), hops(relay)
    peers = [f"10.201.2.{n}" for n in range(3, 3 + PERMISSIONS)]
    for first in range(0, PERMISSIONS, 20):
        assert client.create_permission(*peers[first : first + 20]).message_class == turn.SUCCESS
    assert hops(relay) >= used + PERMISSIONS - 20
    assert entries(lab) <= before + 2, "a permission is no packet"
    # 300 seconds are ten here; the allocation's 600 are twenty.
    wait_for(lambda: hops(relay) <= used + 2, 40, "next hops given back")
    # And with a packet, the kernel is asked, about that one alone.
    client = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    client.allocate()
    peer = lab.peer.udp(lab.PEER4)
    assert client.create_permission(lab.PEER4).message_class == turn.SUCCESS
    client.send(*peer.getsockname(), b"hello")
    assert peer.recvfrom(100)[0] == b"hello"
    client.create_permission("10.201.2.250")
    client.send("10.201.2.250", 7, b"nobody")
    wait_for(lambda: "10.201.2.250" in lab.relay.ip("neigh", "show", "dev", "south").stdout, 5, "a question")
    # Nobody answers, and the kernel's table is the host's: what it noted goes again.
    wait_for(lambda: "10.201.2.250" not in lab.relay.ip("neigh", "show", "dev", "south").stdout, 10, "forgotten")


def test_peers_that_are_not_there_leave_room_for_one_that_is(fresh_lab):
    lab = fresh_lab
    relay = lab.start_relay()
    client = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    client.allocate()
    peer = lab.peer.udp(lab.PEER4)
    dead = ["10.201.2.77", "10.201.2.78"]
    assert client.create_permission(lab.PEER4, *dead).message_class == turn.SUCCESS
    lab.relay.ip("neigh", "flush", "dev", "south")
    for n in range(40):
        for address in dead:
            client.send(address, 7, b"nobody")
    # The first packet to the peer that is there waits for its MAC beside them.
    client.send(*peer.getsockname(), b"first")
    assert peer.recvfrom(100)[0] == b"first"
    assert relay.total("turnpike_dropped_packets_total", reason="no_neighbour") >= 40
