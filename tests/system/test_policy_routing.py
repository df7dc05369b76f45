"""Two uplinks and rules that choose by the source: what `ip route get TO from FROM` says is what the relay does."""

import contextlib
import re
import time

import pytest

import turn_client as turn
from lab import Lab, wait_for
from turn_client import TurnClient

FAR4, FAR6 = "10.201.9.2", "fd20:9::2"


class TwoUplinks(Lab):
    """The client's and the peer's networks as two uplinks, each with a gateway, behind both of which is `far`."""

    def connect(self):
        super().connect()
        self.far = self.add("far")
        for host, number in ((self.client, 1), (self.peer, 2)):
            self.join(
                self.far,
                f"up{number}",
                [f"10.201.10{number}.2/24", f"fd20:10{number}::2/64"],
                host,
                "far",
                [f"10.201.10{number}.1/24", f"fd20:10{number}::1/64"],
            )
            host.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            host.ip("route", "add", f"{FAR4}/32", "via", f"10.201.10{number}.2")
            host.ip("-6", "route", "add", f"{FAR6}/128", "via", f"fd20:10{number}::2")
        self.far.ip("addr", "add", f"{FAR4}/32", "dev", "lo")
        self.far.ip("addr", "add", f"{FAR6}/128", "dev", "lo", "nodad")
        self.far.exec("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
        # Answers to an address of the relay go back by its own uplink.
        for number, net in ((1, "1"), (2, "2")):
            self.far.ip("route", "add", f"10.201.{net}.0/24", "via", f"10.201.10{number}.1")
            self.far.ip("-6", "route", "add", f"fd20:{net}::/64", "via", f"fd20:10{number}::1")
        # By itself everything leaves by the first; the second's address has a table of its own.
        self.relay.ip("route", "add", "default", "via", self.CLIENT4)
        self.relay.ip("-6", "route", "add", "default", "via", self.CLIENT6)
        self.relay.ip("route", "add", "default", "via", self.PEER4, "table", "100")
        self.relay.ip("-6", "route", "add", "default", "via", self.PEER6, "table", "100")
        self.relay.ip("rule", "add", "from", self.RELAY4, "lookup", "100")
        self.relay.ip("-6", "rule", "add", "from", self.RELAY6, "lookup", "100")

    def sent_by(self, interface):
        """UDP packets that arrived at `far` by that uplink, as its firewall counts them."""
        listing = self.far.exec("nft", "list", "counter", "inet", "count", interface).stdout
        return int(re.search(r"packets (\d+)", listing)[1])

    def count(self):
        self.far.exec("nft", "add", "table", "inet", "count")
        self.far.exec("nft", "add", "chain", "inet", "count", "in", "{ type filter hook prerouting priority -300; }")
        for interface in ("up1", "up2"):
            self.far.exec("nft", "add", "counter", "inet", "count", interface)
            self.far.exec(
                "nft",
                "add",
                "rule",
                "inet",
                "count",
                "in",
                "iifname",
                interface,
                "meta",
                "l4proto",
                "udp",
                "counter",
                "name",
                interface,
            )


@pytest.fixture
def uplinks():
    with contextlib.closing(TwoUplinks()) as lab:
        yield lab


@pytest.mark.parametrize("family", [4, 6])
def test_packets_leave_by_the_uplink_of_their_source(uplinks, family):
    lab = uplinks
    ours = lab.RELAY4 if family == 4 else lab.RELAY6
    far = FAR4 if family == 4 else FAR6
    listen = f"{ours}:3478" if family == 4 else f"[{ours}]:3478"
    relay = lab.start_relay(listen=[listen], relays=[ours])
    lab.count()
    client = TurnClient(lab.far.udp(far), (ours, 3478))
    client.allocate(*([] if family == 4 else [(turn.REQUESTED_ADDRESS_FAMILY, b"\x02\0\0\0")]))
    peer = lab.far.udp(far)
    assert client.channel_bind(0x4000, *peer.getsockname()[:2]).message_class == turn.SUCCESS
    for n in range(20):
        client.channel_data(0x4000, b"up %d" % n)
        data, source = peer.recvfrom(100)
        assert data == b"up %d" % n
        peer.sendto(b"down %d" % n, source)
        wait_for(lambda: client.receive_any() == ("channel", 0x4000, b"down %d" % n), 5, "the answer")
    assert lab.sent_by("up1") == 0 and lab.sent_by("up2") >= 40
    # The rule goes: packets follow the main table, within a moment and in the running call.
    lab.relay.ip(*(["-6"] if family == 6 else []), "rule", "del", "from", ours, "lookup", "100")

    def by_the_first():
        client.channel_data(0x4000, b"again")
        time.sleep(0.02)
        return lab.sent_by("up1") > 0

    wait_for(by_the_first, 5, "packets by the first uplink")
    assert relay.total("turnpike_dropped_packets_total", reason="no_route") == 0
