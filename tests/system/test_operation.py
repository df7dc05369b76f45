"""What an operator does to it: start, stop, kill, misconfigure, share the interface, put it behind a NAT."""

import base64
import hmac
import os
import signal
import socket
import time

import pytest

import turn_client as turn
from lab import BINARY, run, wait_for
from turn_client import TurnClient


def state_of(host):
    """What a relay could leave behind in its namespace: interfaces, XDP programs, nft rules."""
    links = [line.split(": ")[1].split("@")[0] for line in host.ip("-o", "link").stdout.splitlines()]
    xdp = [line for line in host.ip("link").stdout.splitlines() if "xdp" in line]
    rules = host.exec("nft", "list", "ruleset", check=False).stdout
    return links, xdp, rules


def stale_runtime():
    """DPDK's runtime directories of relays that are gone."""
    names = os.listdir("/run/dpdk") if os.path.isdir("/run/dpdk") else []
    return [
        name for name in names if name.startswith("turnpike-") and not os.path.isdir(f"/proc/{name.rpartition('-')[2]}")
    ]


def echo_works(lab, server=None):
    """One datagram through a fresh allocation to a peer and back."""
    one = TurnClient(lab.client.udp(lab.CLIENT4), (server or lab.SERVER4, 3478))
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    peer = lab.peer.udp(lab.PEER4)
    one.channel_bind(0x4000, *peer.getsockname())
    one.channel_data(0x4000, b"there")
    data, source = peer.recvfrom(100)
    peer.sendto(b"back", source)
    answer = one.receive_any()
    one.refresh(0)
    one.sock.close()
    peer.close()
    return data == b"there" and answer == ("channel", 0x4000, b"back") and relayed


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_clean_stop_leaves_nothing(fresh_lab, driver, number):
    before = state_of(fresh_lab.relay)
    relay = fresh_lab.start_relay(driver=driver)
    assert echo_works(fresh_lab)
    assert relay.stop(number) == 0, relay.output()
    assert state_of(fresh_lab.relay) == before
    assert stale_runtime() == []


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_start_after_sigkill(fresh_lab, driver):
    before = state_of(fresh_lab.relay)
    relay = fresh_lab.start_relay(driver=driver)
    relay.kill()
    again = fresh_lab.start_relay(driver=driver)
    assert echo_works(fresh_lab)
    assert again.stop() == 0, again.output()
    assert state_of(fresh_lab.relay) == before
    assert stale_runtime() == []


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_kernel_keeps_ping_and_tcp(fresh_lab, driver):
    fresh_lab.start_relay(driver=driver)
    for address in (fresh_lab.SERVER4, fresh_lab.SERVER6):
        assert "0% packet loss" in fresh_lab.client.exec("ping", "-c", "3", "-i", "0.2", address).stdout
    with fresh_lab.relay.inside():
        listener = socket.create_server((fresh_lab.SERVER4, 2222))
    with fresh_lab.client.inside():
        stream = socket.create_connection((fresh_lab.SERVER4, 2222), timeout=5)
    served, _ = listener.accept()
    stream.sendall(b"ssh-like" * 10000)
    received = b""
    while len(received) < 80000:
        received += served.recv(65536)
    assert received == b"ssh-like" * 10000
    for one in (stream, served, listener):
        one.close()
    assert echo_works(fresh_lab)


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
@pytest.mark.parametrize("workers", [2, 3])
def test_more_workers_than_queues(fresh_lab, driver, workers):
    fresh_lab.start_relay("--workers", workers, driver=driver)
    for _ in range(10):
        assert echo_works(fresh_lab)


def test_sender_without_checksum_offload(fresh_lab):
    """All other tests send from a veth with offload on, the default; here the sender computes the sum."""
    for host in (fresh_lab.client, fresh_lab.peer):
        host.exec("ethtool", "-K", "eth0", "tx", "off")
    fresh_lab.start_relay()
    assert echo_works(fresh_lab)


def test_routed_peer_behind_a_gateway(fresh_lab):
    lab = fresh_lab
    far = lab.add("far")
    lab.join(far, "eth0", ["10.201.9.2/24"], lab.peer, "far", ["10.201.9.1/24"])
    far.ip("route", "add", "default", "via", "10.201.9.1")
    lab.peer.exec("sysctl", "-qw", "net.ipv4.ip_forward=1")
    lab.relay.ip("route", "add", "10.201.9.0/24", "via", lab.PEER4)
    lab.start_relay()
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    one.allocate()
    peer = far.udp("10.201.9.2")
    assert one.channel_bind(0x4000, *peer.getsockname()).message_class == turn.SUCCESS
    one.channel_data(0x4000, b"two hops")
    data, source = peer.recvfrom(100)
    peer.sendto(b"home", source)
    assert data == b"two hops" and one.receive_any() == ("channel", 0x4000, b"home")


def test_one_to_one_nat_shows_the_public_address(fresh_lab):
    lab = fresh_lab
    lab.start_relay(relays=[f"{lab.RELAY4}=203.0.113.9"])
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    two = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
    other = two.allocate().address(turn.XOR_RELAYED_ADDRESS)
    assert relayed[0] == other[0] == "203.0.113.9"
    one.channel_bind(0x4000, *other)
    two.channel_bind(0x4001, *relayed)
    one.channel_data(0x4000, b"via the public address")
    assert two.receive_any() == ("channel", 0x4001, b"via the public address")


def test_rest_credentials(fresh_lab, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("north-star\n")
    fresh_lab.start_relay("--rest-secret-file", secret)

    def allocate(expires, key):
        name = f"{int(time.time()) + expires}:bob"
        password = base64.b64encode(hmac.digest(key, name.encode(), "sha1")).decode()
        one = TurnClient(
            fresh_lab.client.udp(fresh_lab.CLIENT4), (fresh_lab.SERVER4, 3478), username=name, password=password
        )
        return one.allocate()

    assert allocate(3600, b"north-star").message_class == turn.SUCCESS
    assert allocate(-10, b"north-star").error == 401
    assert allocate(3600, b"other").error == 401
    output = fresh_lab.client.exec(
        "turnutils_uclient",
        "-u",
        "carol",
        "-W",
        "north-star",
        "-y",
        "-n",
        "20",
        "-m",
        "2",
        "-z",
        "5",
        fresh_lab.SERVER4,
        check=False,
    ).stdout
    assert "Total lost packets 0" in output, output[-2000:]


def test_no_secret_in_log_or_metrics(fresh_lab):
    relay = fresh_lab.start_relay("--user", "dora:very-hidden-word")
    one = TurnClient(
        fresh_lab.client.udp(fresh_lab.CLIENT4), (fresh_lab.SERVER4, 3478), username="dora", password="very-hidden-word"
    )
    assert one.allocate().message_class == turn.SUCCESS
    body = relay.get("/metrics")[1]
    assert "hidden" not in relay.output() and "hidden" not in body and "dora" not in body


def test_health_and_metrics_are_live(fresh_lab):
    relay = fresh_lab.start_relay()
    assert relay.get("/healthz")[0] == 200
    one = TurnClient(fresh_lab.client.udp(fresh_lab.CLIENT4), (fresh_lab.SERVER4, 3478))
    one.allocate()
    peer = fresh_lab.peer.udp(fresh_lab.PEER4)
    one.channel_bind(0x4000, *peer.getsockname())
    for _ in range(5):
        one.channel_data(0x4000, b"x" * 100)
        peer.recv(200)
    assert relay.total("turnpike_allocations") == 1
    assert relay.total("turnpike_channels") == 1
    assert relay.total("turnpike_permissions") == 1
    assert relay.total("turnpike_relayed_packets_total", direction="peer_out", family="ipv4") == 5
    assert relay.total("turnpike_relayed_bytes_total", direction="peer_out", family="ipv4") == 500


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--port", "af_xdp:nowhere0"], ["nowhere0"]),
        (["--port", "carrier_pigeon:eth0"], ["carrier_pigeon"]),
        (["--port", "af_xdp:north", "--listen", "10.201.1.1:99999"], ["99999"]),
        (["--no-such-flag"], ["--no-such-flag"]),
    ],
    ids=str,
)
def test_bad_command_line(lab, flags, words):
    result = lab.relay.exec(BINARY, *flags, "--user", "a:b", "--realm", "r", check=False)
    assert result.returncode in (1, 2) and result.returncode == (1 if "nowhere0" in words else 2), result.stdout
    for word in words:
        assert word in result.stdout


def test_bad_configuration_names_file_line_and_key(lab, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('realm = "example.org"\nworkerz = 2\n')
    result = lab.relay.exec(BINARY, "--config", path, "--check-config", check=False)
    assert result.returncode == 2
    assert f"{path}:2" in result.stdout and "workerz" in result.stdout and "workers" in result.stdout


def test_version_and_help(lab):
    assert "turnpike" in run(BINARY, "--version").stdout.lower()
    assert "--port" in run(BINARY, "--help").stdout


def test_interface_that_is_down(fresh_lab):
    fresh_lab.relay.ip("link", "set", "south", "down")
    relay = fresh_lab.start_relay(expect_ready=False)
    assert relay.process.wait(timeout=20) == 1
    assert "south" in relay.output() and "down" in relay.output()


def test_large_datagrams_are_reassembled(fresh_lab):
    fresh_lab.start_relay()
    one = TurnClient(fresh_lab.client.udp(fresh_lab.CLIENT4), (fresh_lab.SERVER4, 3478))
    one.allocate()
    peer = fresh_lab.peer.udp(fresh_lab.PEER4)
    one.channel_bind(0x4000, *peer.getsockname())
    payload = os.urandom(4000)
    one.channel_data(0x4000, payload)
    data, source = peer.recvfrom(5000)
    assert data == payload
    peer.sendto(payload, source)
    assert one.receive_any() == ("channel", 0x4000, payload)


def reserved_ports(host):
    return host.exec("cat", "/proc/sys/net/ipv4/ip_local_reserved_ports").stdout.strip()


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_the_hosts_own_udp_stays_the_hosts(fresh_lab, driver):
    """The relayed address is the interface's: what the host asks for itself (DNS, NTP) must be answered."""
    lab = fresh_lab
    before = reserved_ports(lab.relay)
    relay = lab.start_relay(driver=driver, relays=[lab.SERVER4, lab.RELAY4])
    assert echo_works(lab)
    for _ in range(200):  # of the kernel's own choice, which by default lies among relay ports in two of five
        with lab.relay.udp(lab.SERVER4) as host:
            assert host.getsockname()[1] < 49152
    assert reserved_ports(lab.relay) == "49152-65535"
    for port in (0, 1024, 49151):
        with lab.relay.udp(lab.SERVER4, port) as host, lab.client.udp(lab.CLIENT4) as client:
            host.sendto(b"question", client.getsockname())
            client.sendto(b"answer", client.recvfrom(100)[1])
            assert host.recvfrom(100)[0] == b"answer", port
    assert relay.stop() == 0, relay.output()
    assert reserved_ports(lab.relay) == before


def set_mtu(lab, mtu):
    for host, name in ((lab.client, "eth0"), (lab.relay, "north"), (lab.peer, "eth0"), (lab.relay, "south")):
        host.ip("link", "set", name, "mtu", mtu)


def shared_ports(directory, driver, mtu):
    path = directory / "ports.toml"
    path.write_text("".join(f'[[port]]\ndevice = "{driver}:{name}"\nmtu = {mtu}\n' for name in ("north", "south")))
    return path


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_a_shared_port_has_its_interfaces_mtu(fresh_lab, driver):
    set_mtu(fresh_lab, 1400)
    relay = fresh_lab.start_relay(driver=driver)
    assert relay.output().count("MTU 1400") == 2, relay.output()
    assert echo_works(fresh_lab)


def test_jumbo_frames_stay_whole_on_af_packet(fresh_lab, tmp_path):
    lab = fresh_lab
    config = shared_ports(tmp_path, "af_packet", 9000)
    relay = lab.start_relay("--config", config, ports=(), expect_ready=False)
    assert relay.process.wait(timeout=20) == 1
    assert "mtu = 9000, but the interface has 1500; ip link set north mtu 9000" in relay.output()
    relay.kill()
    set_mtu(lab, 9000)
    relay = lab.start_relay("--config", config, ports=())
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    one.allocate()
    with lab.peer.udp(lab.PEER4) as peer:
        # Larger than any link but this one, and not to be fragmented.
        peer.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        one.sock.setsockopt(socket.IPPROTO_IP, 10, 2)
        one.channel_bind(0x4000, *peer.getsockname())
        payload = os.urandom(8000)
        one.channel_data(0x4000, payload)
        data, source = peer.recvfrom(9000)
        assert data == payload
        peer.sendto(payload, source)
        assert one.receive_any() == ("channel", 0x4000, payload)
    one.sock.close()


def test_jumbo_interfaces_refuse_xdp_with_ways_out(fresh_lab):
    set_mtu(fresh_lab, 9001)
    relay = fresh_lab.start_relay(expect_ready=False)
    assert relay.process.wait(timeout=20) == 1
    for words in ("MTU is 9001", "ip link set north mtu 1500", "af_packet:north"):
        assert words in relay.output(), relay.output()


def lost_by_ports(relay, reason="missed"):
    return relay.total("turnpike_port_dropped_packets_total", reason=reason)


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_what_the_receive_ring_loses_is_counted(fresh_lab, driver):
    """A relay that is stopped for a while under load: what was sent is relayed, or in one of the counters."""
    lab = fresh_lab
    relay = lab.start_relay(driver=driver)
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    one.allocate()
    with lab.peer.udp(lab.PEER4) as peer:
        one.channel_bind(0x4000, *peer.getsockname())
        one.channel_data(0x4000, b"first")  # finds the next hop, for which few packets can wait
        assert peer.recvfrom(100)[0] == b"first"
        assert lost_by_ports(relay) == 0
        relay.process.send_signal(signal.SIGSTOP)
        sent = 6000  # more than any of the rings
        try:
            for _ in range(sent):
                one.channel_data(0x4000, b"x" * 160)
        finally:
            relay.process.send_signal(signal.SIGCONT)
        wait_for(lambda: lost_by_ports(relay) > 0, 10, "losses counted")

    def accounted():
        return (
            relay.total("turnpike_relayed_packets_total", direction="client_in")
            + lost_by_ports(relay)
            + relay.total("turnpike_dropped_packets_total")
        )

    wait_for(lambda: accounted() >= sent, 10, f"all of {sent} accounted for: {accounted()}")
    assert accounted() <= sent + 20  # others on this network: neighbour discovery
    one.sock.close()


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_a_link_that_is_down_is_told(fresh_lab, driver):
    lab = fresh_lab
    relay = lab.start_relay(driver=driver)
    north = f'turnpike_port_up{{port="{driver}:north"}}'
    wait_for(lambda: relay.metrics()[north] == 1, 5, "a link that is up")
    lab.client.ip("link", "set", "eth0", "down")
    wait_for(lambda: relay.metrics()[north] == 0, 10, "the link down")
    status, why = relay.get("/readyz")
    assert status == 503 and "link_down" in why and f"{driver}:north" in why, why
    assert "the link is down" in relay.output()
    lab.client.ip("link", "set", "eth0", "up")
    wait_for(lambda: relay.metrics()[north] == 1, 10, "the link up again")
    wait_for(lambda: relay.get("/readyz")[0] == 200, 10, "ready again")


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_a_scan_does_not_tell_live_relay_ports_from_dead_ones(fresh_lab, driver):
    lab = fresh_lab
    lab.relay.exec("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
    lab.start_relay(driver=driver)
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    live = one.allocate().address(turn.XOR_RELAYED_ADDRESS)[1]
    dead = live + 1 if live < 65535 else live - 1
    for port, told in ((live, False), (dead, False), (40000, True)):
        with lab.peer.udp(lab.PEER4) as scanner:
            scanner.settimeout(0.5)
            scanner.connect((lab.RELAY4, port))
            scanner.send(b"who is there?")
            with pytest.raises(ConnectionRefusedError if told else TimeoutError):
                scanner.recv(100)
    one.sock.close()


def test_cores_that_are_not_there_are_refused(fresh_lab, tmp_path):
    config = tmp_path / "cores.toml"
    config.write_text("worker_cores = [500]\n")
    relay = fresh_lab.start_relay("--config", config, expect_ready=False)
    assert relay.process.wait(timeout=20) == 2
    assert "worker_cores: this machine has cores 0 to" in relay.output()
    assert "not 500" in relay.output()


def test_frames_that_xdp_has_no_room_for_are_told_and_counted(fresh_lab):
    set_mtu(fresh_lab, 3400)
    relay = fresh_lab.start_relay()
    assert "packets of more than 2022 bytes are not received; ip link set north mtu 1500" in relay.output()
    assert echo_works(fresh_lab)
    with fresh_lab.client.udp(fresh_lab.CLIENT4) as sender:
        for _ in range(5):
            sender.sendto(bytes(3000), (fresh_lab.SERVER4, 3478))
    wait_for(lambda: lost_by_ports(relay) == 5, 10, "five frames counted")


def test_every_buffer_goes_round_between_two_workers(fresh_lab):
    """More packets than there are buffers: what one worker receives the other sends and gives back."""
    relay = fresh_lab.start_relay("--workers", "2")
    with fresh_lab.client.udp(fresh_lab.CLIENT4) as sock, fresh_lab.peer.udp(fresh_lab.PEER4) as peer:
        one = TurnClient(sock, (fresh_lab.SERVER4, 3478))
        relayed = one.allocate().address(turn.XOR_RELAYED_ADDRESS)
        one.channel_bind(0x4000, *peer.getsockname())
        one.channel_data(0x4000, b"warm")
        peer.recv(100)
        buffers = int(relay.total("turnpike_pool_limit", pool="buffers"))
        there = back = 0
        for _ in range(buffers // 32 + 1):
            for _ in range(32):
                one.channel_data(0x4000, b"x" * 100)
                peer.sendto(b"y" * 100, relayed)
            for _ in range(32):
                there += peer.recv(200) == b"x" * 100
                back += len(sock.recv(200)) == 104
        assert there == back > buffers
