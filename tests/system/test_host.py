"""The host around the relay: addresses that are missing, come late, go and come back."""

import os

import pytest

import turn_client as turn
from lab import wait_for
from test_operation import echo_works
from turn_client import TurnClient


def readiness(relay):
    return relay.get("/readyz")


def not_ready_for(relay, *words, seconds=10):
    """Waits for /readyz to say 503 with all `words`."""

    def told():
        status, body = readiness(relay)
        return status == 503 and all(word in body for word in words)

    wait_for(told, seconds, f"503 with {words}")


def ready_again(relay, seconds=10):
    wait_for(lambda: readiness(relay)[0] == 200, seconds, "ready again")


def condition(relay, name):
    return relay.total("turnpike_condition", condition=name)


def start_unready(lab, *flags, **options):
    """A relay that runs, ready or not."""
    relay = lab.start_relay(*flags, expect_ready=False, **options)
    wait_for(
        lambda: "] ready" in relay.output() or " ready\n" in relay.output() or relay.process.poll() is not None,
        30,
        "running",
    )
    assert relay.process.poll() is None, relay.output()
    return relay


def test_listening_address_that_is_on_no_interface(fresh_lab):
    relay = start_unready(fresh_lab, listen=["203.0.113.7:3478", f"{fresh_lab.SERVER4}:3478"])
    not_ready_for(relay, "203.0.113.7", "listening")
    assert fresh_lab.SERVER4 not in readiness(relay)[1]
    output = relay.output()
    assert "203.0.113.7" in output and "external" in output
    assert f"{fresh_lab.SERVER4} on north" in output and f"{fresh_lab.RELAY4} on south" in output
    assert condition(relay, "missing_address") == 1
    assert echo_works(fresh_lab)  # the rest works
    fresh_lab.relay.ip("addr", "add", "203.0.113.7/32", "dev", "north")
    ready_again(relay)
    assert condition(relay, "missing_address") == 0


def test_relayed_address_that_is_on_no_interface(fresh_lab):
    relay = start_unready(fresh_lab, relays=["203.0.113.7"])
    not_ready_for(relay, "203.0.113.7", "relayed")
    assert "203.0.113.7" in relay.output() and "external" in relay.output()


def test_routed_addresses_are_there_by_a_local_route(fresh_lab):
    fresh_lab.relay.ip("route", "add", "local", "203.0.113.8/29", "dev", "lo")
    relay = fresh_lab.start_relay(relays=["203.0.113.8"])
    assert condition(relay, "missing_address") == 0


def test_relayed_address_that_goes_and_comes_back(fresh_lab):
    lab = fresh_lab
    relay = lab.start_relay()
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    one.allocate()
    peer = lab.peer.udp(lab.PEER4)
    one.channel_bind(0x4000, *peer.getsockname())
    lab.relay.ip("addr", "add", "10.201.77.1/24", "dev", "south")
    lab.relay.ip("addr", "del", f"{lab.RELAY4}/24", "dev", "south")
    not_ready_for(relay, lab.RELAY4)
    assert "10.201.77.1 on south" in relay.output()
    lab.relay.ip("addr", "add", f"{lab.RELAY4}/24", "dev", "south")
    ready_again(relay)

    def carried():
        one.channel_data(0x4000, b"as before")
        try:
            return peer.recvfrom(100)[0] == b"as before"
        except TimeoutError:
            return False

    wait_for(carried, 10, "media of the allocation that was there all the time")


def test_address_that_comes_after_the_start(fresh_lab):
    lab = fresh_lab
    lab.relay.ip("-6", "addr", "flush", "dev", "north", "scope", "global")
    relay = lab.start_relay(listen=[], relays=[], ports=["north"])
    assert condition(relay, "late_address") == 0
    lab.relay.ip("addr", "add", f"{lab.SERVER6}/64", "dev", "north", "nodad")
    wait_for(lambda: condition(relay, "late_address") == 1, 10, "the late address told")
    assert readiness(relay)[0] == 200
    assert "until a restart" in relay.output() and lab.SERVER6 in relay.output()


def test_broadcast_address_of_a_network_that_comes_later(fresh_lab):
    lab = fresh_lab
    lab.start_relay()
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    one.allocate()
    assert one.create_permission("11.0.0.255").message_class == turn.SUCCESS
    lab.client.ip("addr", "add", "11.0.0.255/32", "dev", "eth0")
    forged = lab.client.udp("11.0.0.255")

    def is_answered():
        transaction = os.urandom(12)
        forged.sendto(turn.build(turn.BINDING, turn.REQUEST, transaction, [], fingerprint=False), (lab.SERVER4, 3478))
        try:
            return turn.Message(forged.recv(1000)).transaction == transaction
        except TimeoutError:
            return False

    wait_for(is_answered, 10, "a request from there answered")
    lab.relay.ip("addr", "add", "11.0.0.1/24", "broadcast", "11.0.0.255", "dev", "south")
    wait_for(lambda: one.create_permission("11.0.0.255").error == 403, 10, "the broadcast address refused")
    wait_for(lambda: not is_answered(), 10, "a request in the name of the broadcast address dropped")
    lab.relay.ip("addr", "del", "11.0.0.1/24", "dev", "south")
    wait_for(lambda: one.create_permission("11.0.0.255").message_class == turn.SUCCESS, 10, "allowed again")
    wait_for(is_answered, 10, "answered again")


def test_waits_for_an_address_at_the_start(fresh_lab):
    lab = fresh_lab
    lab.relay.ip("addr", "flush", "dev", "north")
    relay = lab.start_relay(listen=[], relays=[], ports=["north"], expect_ready=False)
    wait_for(lambda: "waiting for an address" in relay.output(), 10, "waiting told")
    lab.relay.ip("addr", "add", f"{lab.SERVER4}/24", "dev", "north")
    relay.wait_ready()
    assert relay.output().count("waiting") == 1
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    assert one.allocate().address(turn.XOR_RELAYED_ADDRESS)[0] == lab.SERVER4


def test_can_be_stopped_while_it_waits(fresh_lab):
    fresh_lab.relay.ip("addr", "flush", "dev", "north")
    relay = fresh_lab.start_relay(listen=[], relays=[], ports=["north"], expect_ready=False)
    wait_for(lambda: "waiting" in relay.output(), 10, "waiting told")
    assert relay.stop() == 0


def test_one_external_address_for_several_of_the_interface(fresh_lab):
    fresh_lab.relay.ip("addr", "add", "10.201.1.11/24", "dev", "north")
    relay = fresh_lab.start_relay(
        "--external", "203.0.113.5", listen=[], relays=[], ports=["north"], expect_ready=False
    )
    assert relay.process.wait(timeout=20) == 2
    assert "exactly one relayed address of this family" in relay.output() and "found 2" in relay.output()


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_interface_without_ethernet_headers(fresh_lab, driver):
    fresh_lab.relay.ip("tuntap", "add", "wg0", "mode", "tun")
    fresh_lab.relay.ip("addr", "add", "10.201.8.1/24", "dev", "wg0")
    fresh_lab.relay.ip("link", "set", "wg0", "up")
    relay = fresh_lab.start_relay(driver=driver, ports=["north", "wg0"], expect_ready=False)
    assert relay.process.wait(timeout=20) == 1
    assert "wg0" in relay.output() and "no Ethernet headers" in relay.output()


def make_south_anew(lab):
    lab.join(
        lab.peer,
        "eth0",
        [lab.PEER4 + "/24", lab.PEER6 + "/64"],
        lab.relay,
        "south",
        [lab.RELAY4 + "/24", lab.RELAY6 + "/64"],
    )


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_interface_made_anew(fresh_lab, driver):
    lab = fresh_lab
    relay = lab.start_relay(driver=driver)
    assert echo_works(lab)
    lab.relay.ip("link", "del", "south")
    not_ready_for(relay, "lost_interface", "south")
    assert condition(relay, "lost_interface") == 1
    make_south_anew(lab)
    assert relay.process.wait(timeout=10) == 1
    assert "south was made anew" in relay.output()
    lab.start_relay(driver=driver)  # as the service manager does
    assert echo_works(lab)


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_interface_down_and_up(fresh_lab, driver):
    lab = fresh_lab
    relay = lab.start_relay(driver=driver)
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    one.allocate()
    peer = lab.peer.udp(lab.PEER4)
    one.channel_bind(0x4000, *peer.getsockname())
    lab.relay.ip("link", "set", "south", "down")
    lab.relay.ip("link", "set", "south", "up")
    lab.relay.ip("addr", "add", f"{lab.RELAY6}/64", "dev", "south", "nodad")  # the kernel takes those of IPv6

    def carried():
        one.channel_data(0x4000, b"as before")
        try:
            return peer.recvfrom(100)[0] == b"as before"
        except TimeoutError:
            return False

    wait_for(carried, 10, "media of the allocation that was there all the time")
    ready_again(relay)


def test_exception_interface_that_is_deleted(owned_lab, tmp_path):
    relay = owned_lab.start_relay(directory=tmp_path)
    owned_lab.relay.ip("link", "del", "tpk1")
    assert relay.process.wait(timeout=10) == 1
    assert "tpk1 is gone" in relay.output()


OWN_HOST = b"Peer Is On The Relay's Host"


def refused_as_own_host(answer):
    return answer.error == 403 and answer.get(turn.ERROR_CODE)[4:] == OWN_HOST


def without_own_host(folder):
    config = folder / "relay.toml"
    config.write_text("[own_host]\nudp = false\n")
    return "--config", config


def test_peers_on_the_relays_own_host(fresh_lab, tmp_path):
    lab = fresh_lab
    lab.relay.ip("addr", "add", "10.201.66.1/32", "dev", "lo")
    relay = lab.start_relay(*without_own_host(tmp_path))
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    two = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    one.allocate()
    relayed = two.allocate().address(turn.XOR_RELAYED_ADDRESS)
    for address in (lab.SERVER4, "10.201.66.1"):
        assert refused_as_own_host(one.create_permission(address)), address
        assert refused_as_own_host(one.channel_bind(0x4001, address, 10000)), address
    wait_for(lambda: relay.output().count("peer on the relay's own host") == 1, 10, "a line in the log")
    assert relay.total("turnpike_refused_peers_total", reason="own_host") == 4

    # What the host has by a private name is not told.
    answer = one.create_permission("127.0.0.1")
    assert answer.error == 403 and answer.get(turn.ERROR_CODE)[4:] == b"Forbidden"

    # Other clients of the relay are peers by its relayed addresses, as ever, whichever port they have.
    assert one.create_permission(lab.RELAY4).message_class == turn.SUCCESS
    assert one.channel_bind(0x4000, *relayed).message_class == turn.SUCCESS
    assert two.create_permission(lab.RELAY4).message_class == turn.SUCCESS
    one.channel_data(0x4000, b"next door")
    assert two.receive_any().get(turn.DATA_ATTRIBUTE) == b"next door"
    unused = 49152 if relayed[1] > 49160 else 65000
    before = relay.total("turnpike_dropped_packets_total", reason="no_relay")
    one.send(lab.RELAY4, unused, b"nobody")
    wait_for(lambda: relay.total("turnpike_dropped_packets_total", reason="no_relay") == before + 1, 10, "a named drop")

    # The host's addresses of now count.
    assert one.create_permission("11.0.0.1").message_class == turn.SUCCESS
    lab.relay.ip("addr", "add", "11.0.0.1/32", "dev", "lo")
    wait_for(lambda: refused_as_own_host(one.create_permission("11.0.0.1")), 10, "an address that came refused")
    lab.relay.ip("addr", "del", "11.0.0.1/32", "dev", "lo")
    wait_for(lambda: one.create_permission("11.0.0.1").message_class == turn.SUCCESS, 10, "one that went allowed")


def test_peers_in_containers_of_the_relays_host(fresh_lab, tmp_path):
    lab = fresh_lab
    lab.relay.ip("link", "add", "br0", "type", "bridge")
    lab.relay.ip("addr", "add", "10.201.99.1/24", "dev", "br0")
    lab.relay.ip("link", "set", "br0", "up")
    lab.relay.ip("route", "add", "default", "via", "10.201.99.2")  # for the host itself
    lab.start_relay(*without_own_host(tmp_path))
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    one.allocate()
    assert refused_as_own_host(one.create_permission("10.201.99.2"))
    assert one.create_permission(lab.PEER4).message_class == turn.SUCCESS
    assert one.create_permission("203.0.114.9").message_class == turn.SUCCESS  # no route, which may come
    lab.relay.ip("link", "del", "br0")
    wait_for(lambda: one.create_permission("10.201.99.2").message_class == turn.SUCCESS, 10, "no longer elsewhere")


def test_no_default_route_is_told(fresh_lab):
    lab = fresh_lab
    relay = lab.start_relay()
    wait_for(lambda: " ready" in relay.output(), 10, "ready")
    assert f"no default route of IPv4 leads from {lab.RELAY4} to a port" in relay.output()
    assert relay.stop() == 0
    lab.relay.ip("route", "add", "default", "via", lab.PEER4)
    relay = lab.start_relay()
    wait_for(lambda: " ready" in relay.output(), 10, "ready")
    assert "default route of IPv4" not in relay.output()
