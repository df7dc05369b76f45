"""Tagged links: the client's with one tag, the peer's with two."""

import socket
import struct

import pytest
from scapy.all import IP, UDP, Dot1AD, Dot1Q, Ether, Raw

from lab import Lab, need_vlans, wait_for
from test_uclient import relay, uclient  # noqa: F401 (the fixture is the same, on the network below)

SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 0x10


class VlanLab(Lab):
    def connect(self):
        for host, theirs, ours, tags, addresses in (
            (
                self.client,
                (self.CLIENT4 + "/24", self.CLIENT6 + "/64"),
                "north",
                [("802.1Q", 100)],
                (self.SERVER4 + "/24", self.SERVER6 + "/64"),
            ),
            (
                self.peer,
                (self.PEER4 + "/24", self.PEER6 + "/64"),
                "south",
                [("802.1ad", 200), ("802.1Q", 300)],
                (self.RELAY4 + "/24", self.RELAY6 + "/64"),
            ),
        ):
            self.join(host, "eth0", [], self.relay, ours, [])
            for end, name, given in ((host, "eth0", theirs), (self.relay, ours, addresses)):
                end.ip("link", "set", name, "mtu", "1504")  # a veth's MTU has room for one tag
                self.tag(end, name, tags, given)
            host.ip("route", "add", "default", "via", addresses[0].split("/")[0])
            host.ip("-6", "route", "add", "default", "via", addresses[1].split("/")[0])

    @staticmethod
    def tag(host, name, tags, addresses):
        # The tags stand in the frames, as on a wire, and not beside them.
        host.exec(
            "ethtool",
            "-K",
            name,
            "txvlan",
            "off",
            "rxvlan",
            "off",
            "tx-vlan-stag-hw-insert",
            "off",
            "rx-vlan-stag-hw-parse",
            "off",
        )
        for inner, (protocol, number) in zip(reversed(range(len(tags))), tags):
            host.ip(
                "link",
                "add",
                "link",
                name,
                "name",
                f"{name}.{number}",
                "type",
                "vlan",
                "proto",
                protocol,
                "id",
                str(number),
            )
            name = f"{name}.{number}"
            host.ip("link", "set", name, "up", "mtu", str(1500 + 4 * inner))
        for address in addresses:
            host.ip("addr", "add", address, "dev", name, *(["nodad"] if ":" in address else []))


@pytest.fixture(scope="module")
def lab():
    need_vlans()
    network = VlanLab()
    yield network
    network.close()


def test_channels_and_indications(lab, relay):
    uclient(lab)
    uclient(lab, "-s")


def test_ipv6_client_and_peer(lab, relay):
    uclient(lab, "-x", server=lab.SERVER6, peer=lab.PEER6)


def test_the_kernel_keeps_its_own(lab, relay):
    lab.client.exec("ping", "-c", "2", "-i", "0.2", "-W", "2", lab.SERVER4)
    lab.peer.exec("ping", "-c", "2", "-i", "0.2", "-W", "2", lab.RELAY4)


def test_fragments(lab, relay):
    if "af_packet" in " ".join(map(str, relay.command)):
        pytest.skip("af_packet: later fragments stay with the kernel")
    uclient(lab, "-l", "1600")


def test_stripped_tags_are_warned_of():
    need_vlans()
    lab = VlanLab()
    try:
        lab.relay.exec("ethtool", "-K", "north", "rxvlan", "on")
        relay = lab.start_relay()
        wait_for(lambda: "ethtool -K north rxvlan off" in relay.output(), 5, "the warning")
    finally:
        lab.close()


def receive_whole(link):
    """A frame as it was on the wire: the kernel hands its outer tag over beside it (packet(7), PACKET_AUXDATA)."""
    frame, beside, _, _ = link.recvmsg(2048, 256)
    for level, kind, data in beside:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, protocol = struct.unpack("=IIIHHHH", data)
            if status & TP_STATUS_VLAN_VALID:
                frame = frame[:12] + struct.pack("!HH", protocol, tci) + frame[12:]
    return Ether(frame)


@pytest.mark.parametrize("driver", ["af_xdp", "tap"])
@pytest.mark.parametrize("tags", [Dot1Q(vlan=0, prio=3), Dot1AD(vlan=0) / Dot1Q(vlan=0, prio=5)], ids=["one", "two"])
def test_answers_carry_the_tags_of_the_request(fresh_lab, owned_lab, tmp_path, driver, tags):
    """Frames made here, so that it holds on kernels without VLANs as well: tags of VLAN 0 are of none, and those of a
    VLAN that the relay's host doesn't have get no answer."""
    lab = fresh_lab if driver == "af_xdp" else owned_lab
    if driver == "af_xdp":
        lab.start_relay()
        relay_interface = "north"
        for host, interface in ((lab.client, "eth0"), (lab.relay, "north")):
            host.exec("ethtool", "-K", interface, "txvlan", "off", "rxvlan", "off", check=False)
    else:
        lab.start_relay(directory=tmp_path)
        relay_interface = "tpk0"
    mac = lab.relay.exec("cat", f"/sys/class/net/{relay_interface}/address").stdout.strip()
    own = lab.client.exec("cat", "/sys/class/net/eth0/address").stdout.strip()
    with lab.client.inside():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    link.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    link.bind(("eth0", 0))
    link.settimeout(3)
    for method, expected in ((0x0001, 0x0101), (0x0003, 0x0113)):
        request = struct.pack("!HHI12s", method, 0, 0x2112A442, b"twelve bytes")
        packet = IP(src=lab.CLIENT4, dst=lab.SERVER4) / UDP(sport=4000, dport=3478) / Raw(request)
        frame = bytes(Ether(src=own, dst=mac) / tags / packet)
        for unknown in (Dot1Q(vlan=100), Dot1AD(vlan=0) / Dot1Q(vlan=100)):
            link.send(bytes(Ether(src=own, dst=mac) / unknown / packet))
        link.send(frame)
        while True:
            answer = receive_whole(link)
            if UDP in answer and answer[UDP].sport == 3478:
                break
        assert struct.unpack("!H", bytes(answer[UDP].payload)[:2])[0] == expected
        assert answer.dst == own
        size = len(tags)
        assert bytes(answer)[12 : 12 + size] == frame[12 : 12 + size], answer.show(dump=True)
    link.close()
