#!/usr/bin/python3
"""Writes corpus/flow: what clients, peers and routers send, for the fuzzer to start from.

The first byte of each chooses the world (flow_fuzz.cpp); the rest is a payload, an ICMP message or a whole
frame. Built from the RFCs' layouts and not by the code under test.
"""

import ipaddress
import struct
from pathlib import Path

COOKIE = 0x2112A442
ID = bytes(12)
SERVER, RELAY, CLIENT, PEER = "192.0.2.1", "192.0.2.2", "198.51.100.1", "203.0.113.9"
RELAY6, PEER6 = "2001:db8::2", "2001:db8:2::9"
PUBLIC = "203.0.113.200"


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def peer(address, port):
    raw = ipaddress.ip_address(address).packed
    key = struct.pack("!I", COOKIE) + ID
    family = 1 if len(raw) == 4 else 2
    return attribute(
        0x0012, struct.pack("!BBH", 0, family, port ^ COOKIE >> 16) + bytes(a ^ b for a, b in zip(raw, key))
    )


def message(kind, *attributes):
    body = b"".join(attributes)
    return struct.pack("!HHI", kind, len(body), COOKIE) + ID + body


def send(address, port, data, *more):
    return message(0x0016, peer(address, port), *more, attribute(0x0013, data))


def channel_data(number, data, behind=b""):
    return struct.pack("!HH", number, len(data)) + data + behind


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4(source, destination, protocol, rest, flags=0):
    def header(total):
        return struct.pack(
            "!BBHHHBBH4s4s",
            0x45,
            0,
            20 + len(rest),
            1,
            flags,
            64,
            protocol,
            total,
            ipaddress.ip_address(source).packed,
            ipaddress.ip_address(destination).packed,
        )

    return header(checksum(header(0))) + rest


def ipv6(source, destination, protocol, rest):
    return (
        struct.pack(
            "!IHBB16s16s",
            6 << 28,
            len(rest),
            protocol,
            64,
            ipaddress.ip_address(source).packed,
            ipaddress.ip_address(destination).packed,
        )
        + rest
    )


def udp(source, destination, payload):
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def frame(kind, packet):
    return bytes.fromhex("020000000001020000000002") + struct.pack("!H", kind) + packet


DATA = b"media " * 5
OURS = ipv4(RELAY, PEER, 17, udp(50000, 7000, DATA))
OURS6 = ipv6(RELAY6, PEER6, 17, udp(50001, 7000, DATA))

SEEDS = {
    "channel-data": channel_data(0x4000, DATA),
    "channel-data-6": channel_data(0x4001, DATA, b"padded"),
    "channel-data-empty": channel_data(0x4000, b""),
    "send": send(PEER, 7000, DATA),
    "send-6": send(PEER6, 7000, DATA[:7], attribute(0x001A, b"")),
    "send-hairpin": send(PUBLIC, 50002, DATA),
    "send-hairpin-6": send(RELAY6, 50003, DATA),
    "binding": message(0x0001),
    "binding-change": message(0x0001, attribute(0x0003, bytes([0, 0, 0, 6]))),
    "binding-port": message(0x0001, attribute(0x0027, bytes([0x12, 0x34, 0, 0]))),
    "binding-padding": message(0x0001, attribute(0x0026, bytes(1400)), attribute(0x0003, bytes([0, 0, 0, 2]))),
    "classic": bytes.fromhex("00010008") + bytes(range(16)) + bytes.fromhex("0003000400000006"),
    "allocate": message(0x0003, attribute(0x0019, bytes([17, 0, 0, 0]))),
    "icmp-unreachable": bytes([3, 3, 0, 0, 0, 0, 0, 0]) + OURS,
    "icmp-too-big": bytes([3, 4, 0, 0, 0, 0, 5, 0x78]) + OURS,
    "icmpv6-too-big": bytes([2, 0, 0, 0, 0, 0, 5, 0]) + OURS6,
    "frame-client": frame(0x0800, ipv4(CLIENT, SERVER, 17, udp(40000, 3478, channel_data(0x4000, DATA)))),
    "frame-peer": frame(0x0800, ipv4(PEER, RELAY, 17, udp(7000, 50000, DATA))),
    "frame-fragment": frame(0x0800, ipv4(PEER, RELAY, 17, udp(7000, 50000, DATA), 0x2000)),
    "frame-padded": frame(0x0800, ipv4(PEER, RELAY, 17, udp(7000, 50000, b"x"))) + bytes(17),
    "frame-arp": frame(0x0806, bytes(28)),
}


def main():
    folder = Path(__file__).parent / "corpus" / "flow"
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in SEEDS.items():
        for world in range(4):
            (folder / f"{name}-{world}").write_bytes(bytes([world]) + seed)


if __name__ == "__main__":
    main()
