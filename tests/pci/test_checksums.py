"""UDP checksums, right, wrong, none, and left to whoever puts the frame on a wire."""

import socket
import struct
import time

import pytest
from scapy.all import IP, UDP, Ether, Raw

from pci_lab import TAPS, loses_nothing
from test_owned_ports import relay_and_back


def binding_answered(lab, checksum):
    mac = lab.relay.exec("cat", "/sys/class/net/tpk0/address").stdout.strip()
    own = lab.client.exec("cat", "/sys/class/net/eth0/address").stdout.strip()
    with lab.client.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as link:
        link.bind(("eth0", 0))
        link.settimeout(1)
        request = struct.pack("!HHI12s", 1, 0, 0x2112A442, b"twelve bytes")
        link.send(
            bytes(
                Ether(src=own, dst=mac)
                / IP(src=lab.CLIENT4, dst=lab.SERVER4)
                / UDP(sport=4000, dport=3478, chksum=checksum)
                / Raw(request)
            )
        )
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                frame = Ether(link.recv(2048))
            except TimeoutError:
                continue
            if UDP in frame and frame[UDP].sport == 3478:
                return True
        return False


def test_wrong_checksums_are_dropped(owned_lab, tmp_path):
    relay = owned_lab.start_relay(directory=tmp_path)
    loses_nothing(owned_lab.client, owned_lab.SERVER4)
    assert binding_answered(owned_lab, None)
    assert binding_answered(owned_lab, 0)
    assert not binding_answered(owned_lab, 0x1234)
    assert relay.total("turnpike_dropped_packets_total", reason="bad_udp_checksum") == 1


@pytest.mark.skipif(not TAPS, reason="hubs carry no checksums that are left to the receiver")
def test_checksums_left_to_the_receiver(owned_lab, tmp_path):
    """What another guest of the same host sends: its kernel and the host's trust each other's memory."""
    lab = owned_lab
    relay = lab.start_relay(directory=tmp_path)
    for host in (lab.client, lab.peer):
        lab.leave_checksums(host, True)
    relay_and_back(lab, lab.SERVER4, lab.CLIENT4, lab.PEER4)
    relay_and_back(lab, lab.SERVER6, lab.CLIENT6, lab.PEER6)
    assert relay.total("turnpike_dropped_packets_total", reason="bad_udp_checksum") == 0
