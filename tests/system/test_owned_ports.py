"""Ports that the relay owns: DPDK's TAP driver, with the exception interface behind it for the kernel's part."""

import os
import signal
import socket

import turn_client as turn
from lab import need_vlans, wait_for
from test_uclient import uclient
from turn_client import TurnClient


def kernel_neighbours(host, relay_address):
    return [line for line in host.ip("neigh", "show", "to", relay_address).stdout.splitlines() if "lladdr" in line]


def relay_and_back(lab, server, client, peer_address):
    one = TurnClient(lab.client.udp(client), (server, 3478))
    family = bytes([2 if ":" in peer_address else 1, 0, 0, 0])
    assert one.allocate((turn.REQUESTED_ADDRESS_FAMILY, family)).message_class == turn.SUCCESS
    peer = lab.peer.udp(peer_address)
    assert one.channel_bind(0x4000, *peer.getsockname()[:2]).message_class == turn.SUCCESS
    for size in (1, 160, 1200, 4000):
        payload = os.urandom(size)
        one.channel_data(0x4000, payload)
        data, source = peer.recvfrom(5000)
        assert data == payload
        peer.sendto(payload, source)
        assert one.receive_any() == ("channel", 0x4000, payload)
    one.send(*peer.getsockname()[:2], b"by indication")
    assert peer.recvfrom(100)[0] == b"by indication"
    one.refresh(0)
    one.sock.close()
    peer.close()


def test_all_four_families(owned_lab, tmp_path):
    owned_lab.start_relay(directory=tmp_path)
    for server, client in ((owned_lab.SERVER4, owned_lab.CLIENT4), (owned_lab.SERVER6, owned_lab.CLIENT6)):
        for peer in (owned_lab.PEER4, owned_lab.PEER6):
            relay_and_back(owned_lab, server, client, peer)


def test_fragments_for_the_kernel_reach_it(owned_lab, tmp_path):
    """Whose they are, only the first says; what was put together for nobody here is cut again."""
    owned_lab.start_relay(directory=tmp_path)
    for server, client in ((owned_lab.SERVER4, owned_lab.CLIENT4), (owned_lab.SERVER6, owned_lab.CLIENT6)):
        with owned_lab.relay.udp(server, 5000) as service, owned_lab.client.udp(client) as sock:
            payload = os.urandom(4000)

            def arrives():
                sock.sendto(payload, (server, 5000))
                try:
                    return service.recv(5000)
                except socket.timeout:
                    return None

            assert wait_for(arrives, 10, "a fragmented datagram to a socket of the relay's host") == payload


def test_two_workers(owned_lab, tmp_path):
    owned_lab.start_relay(directory=tmp_path, workers=2)
    for _ in range(5):
        relay_and_back(owned_lab, owned_lab.SERVER4, owned_lab.CLIENT4, owned_lab.PEER4)


def test_peer_behind_a_tag(owned_lab, tmp_path):
    need_vlans()
    owned_lab.start_relay(directory=tmp_path)
    for host, interface, address in (
        (owned_lab.relay, "tpk1", "10.201.3.1/24"),
        (owned_lab.peer, "eth0", "10.201.3.2/24"),
    ):
        host.ip("link", "add", "link", interface, "name", "tagged", "type", "vlan", "id", "300")
        host.ip("addr", "add", address, "dev", "tagged")
        host.ip("link", "set", "tagged", "up")
    owned_lab.peer.ip("route", "add", owned_lab.RELAY4, "via", "10.201.3.1")
    relay_and_back(owned_lab, owned_lab.SERVER4, owned_lab.CLIENT4, "10.201.3.2")
    owned_lab.peer.exec("ping", "-c", "2", "-i", "0.2", "-W", "2", "10.201.3.1")


def test_uclient(owned_lab, tmp_path):
    relay = owned_lab.start_relay(directory=tmp_path)
    owned_lab.peer.start("turnutils_peer", "-L", owned_lab.PEER4)
    output = owned_lab.client.exec(
        "turnutils_uclient",
        "-u",
        relay.USER,
        "-w",
        relay.PASSWORD,
        "-e",
        owned_lab.PEER4,
        "-n",
        "50",
        "-m",
        "5",
        "-z",
        "5",
        owned_lab.SERVER4,
        check=False,
    ).stdout
    assert "Total lost packets 0" in output, output[-2000:]


def test_arp_nd_and_ping_by_the_exception_interface(owned_lab, tmp_path):
    owned_lab.start_relay(directory=tmp_path)
    for address in (owned_lab.SERVER4, owned_lab.SERVER6):
        assert not kernel_neighbours(owned_lab.client, address)
        assert " 0% packet loss" in owned_lab.client.exec("ping", "-c", "3", "-i", "0.2", address).stdout
        assert kernel_neighbours(owned_lab.client, address)
    assert " 0% packet loss" in owned_lab.relay.exec("ping", "-c", "3", "-i", "0.2", owned_lab.PEER4).stdout


def test_ssh_like_connection_by_the_exception_interface(owned_lab, tmp_path):
    owned_lab.start_relay(directory=tmp_path)
    with owned_lab.relay.inside():
        listener = socket.create_server((owned_lab.SERVER4, 2222))
    with owned_lab.client.inside():
        stream = socket.create_connection((owned_lab.SERVER4, 2222), timeout=5)
    served, _ = listener.accept()
    served.settimeout(10)
    stream.settimeout(10)
    sent = b"ssh-like" * 20000
    received = b""
    stream.sendall(sent)
    while len(received) < len(sent):
        received += served.recv(65536)
    assert received == sent
    served.sendall(b"bye")
    assert stream.recv(10) == b"bye"
    for one in (stream, served, listener):
        one.close()


def test_stop_and_kill_leave_no_interface(owned_lab, tmp_path):
    def links():
        return [line.split(": ")[1] for line in owned_lab.relay.ip("-o", "link").stdout.splitlines()]

    before = links()
    relay = owned_lab.start_relay(directory=tmp_path)
    assert "tpk0" in links()
    assert relay.stop() == 0, relay.output()
    assert links() == before
    relay = owned_lab.start_relay(directory=tmp_path)
    relay.stop(signal.SIGKILL)
    wait_for(lambda: links() == before, 5, "a killed relay's interfaces gone")
    owned_lab.start_relay(directory=tmp_path)
    relay_and_back(owned_lab, owned_lab.SERVER4, owned_lab.CLIENT4, owned_lab.PEER4)


def behind_the_peer(lab):
    """A host that is reached through the peer, which routes."""
    far = lab.add("far")
    lab.join(far, "eth0", ["10.201.9.2/24", "fd20:9::2/64"], lab.peer, "far", ["10.201.9.1/24", "fd20:9::1/64"])
    far.ip("route", "add", "default", "via", "10.201.9.1")
    far.ip("-6", "route", "add", "default", "via", "fd20:9::1")
    lab.peer.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    return far


def reaches(lab, server, client, far, address):
    one = TurnClient(lab.client.udp(client), (server, 3478))
    family = bytes([2 if ":" in address else 1, 0, 0, 0])
    assert one.allocate((turn.REQUESTED_ADDRESS_FAMILY, family)).message_class == turn.SUCCESS
    peer = far.udp(address)
    assert one.channel_bind(0x4000, *peer.getsockname()[:2]).message_class == turn.SUCCESS

    # Again and again: until its own link-local address is no longer tentative, the router solicits nobody.
    def there_and_back():
        one.channel_data(0x4000, b"far")
        try:
            peer.sendto(b"home", peer.recvfrom(100)[1])
            return one.receive_any() == ("channel", 0x4000, b"home")
        except TimeoutError:
            return False

    wait_for(there_and_back, 15, f"data to {address} and back")
    one.refresh(0)
    one.sock.close()
    peer.close()


def test_peer_behind_the_gateway_at_each_start(owned_lab, tmp_path):
    lab = owned_lab
    far = behind_the_peer(lab)
    for number in (signal.SIGTERM, signal.SIGKILL):
        relay = lab.start_relay(directory=tmp_path, gateways=[lab.PEER4, lab.PEER6])
        reaches(lab, lab.SERVER4, lab.CLIENT4, far, "10.201.9.2")
        reaches(lab, lab.SERVER6, lab.CLIENT6, far, "fd20:9::2")
        # The interface's routes go with its link.
        lab.relay.ip("link", "set", "tpk1", "down")
        lab.relay.ip("link", "set", "tpk1", "up")
        for family in ("-4", "-6"):
            wait_for(lambda: "default via" in lab.relay.ip(family, "route").stdout, 10, "the gateway's route again")
        reaches(lab, lab.SERVER4, lab.CLIENT4, far, "10.201.9.2")
        reaches(lab, lab.SERVER6, lab.CLIENT6, far, "fd20:9::2")
        relay.stop(number)
        assert "default" not in lab.relay.ip("route").stdout


def test_clients_by_tcp(owned_lab, tmp_path):
    lab = owned_lab
    relay = lab.start_relay("--listen", f"{lab.SERVER4}:3478/tcp", directory=tmp_path)
    peer = lab.peer.start("turnutils_peer", "-L", lab.PEER4, "-p", "3480")
    wait_for(lambda: ":3480" in lab.peer.exec("ss", "-Huln").stdout, 5, "turnutils_peer listening")
    wait_for(
        lambda: lab.client.exec("ping", "-c", "1", "-W", "1", lab.SERVER4, check=False).returncode == 0, 5, "a way"
    )
    uclient(lab, "-t")
    peer.kill()
    assert relay.stop() == 0, relay.output()
