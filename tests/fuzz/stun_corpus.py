#!/usr/bin/python3
"""Writes corpus/stun: one message of each kind a server gets, for the fuzzer to start from.

Built from the RFCs' layouts and not by the code under test, so that a fault there doesn't hide itself.
"""

import struct
import zlib
from pathlib import Path

COOKIE = 0x2112A442
ID = bytes(range(12))
NONCE = b"obMatJos2AAAD" + b"A" * 28


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(kind, *attributes, fingerprint=False):
    body = b"".join(attributes)
    header = struct.pack("!HHI", kind, len(body) + (8 if fingerprint else 0), COOKIE) + ID
    if fingerprint:
        body += attribute(0x8028, struct.pack("!I", zlib.crc32(header + body) ^ 0x5354554E))
    return header + body


def signed(kind, *attributes, sha256=False, name=None):
    credentials = [name or attribute(0x0006, b"user"), attribute(0x0014, b"example.org"), attribute(0x0015, NONCE)]
    if sha256:
        credentials += [attribute(0x8002, bytes([0, 2, 0, 0, 0, 1, 0, 0])), attribute(0x001D, bytes([0, 2, 0, 0]))]
    integrity = attribute(0x001C, bytes(32)) if sha256 else attribute(0x0008, bytes(20))
    return message(kind, *attributes, *credentials, integrity)


PEER = attribute(0x0012, bytes.fromhex("0001a147e112a643"))
PEER6 = attribute(0x0012, bytes.fromhex("0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"))
UDP = attribute(0x0019, bytes([17, 0, 0, 0]))

SEEDS = {
    "binding": message(0x0001),
    "binding-fingerprint": message(0x0001, attribute(0x8022, b"client"), fingerprint=True),
    "binding-unknown": message(0x0001, attribute(0x0003, bytes(4)), attribute(0x7FFF, b"x")),
    "binding-indication": message(0x0011),
    "binding-success": message(0x0101, attribute(0x0020, bytes.fromhex("0001a147e112a643"))),
    "binding-change": message(0x0001, attribute(0x0003, bytes([0, 0, 0, 6])), fingerprint=True),
    "binding-port": message(0x0001, attribute(0x0027, bytes([0x12, 0x34, 0, 0]))),
    "binding-padding": message(0x0001, attribute(0x0026, bytes(1400)), attribute(0x0003, bytes([0, 0, 0, 2]))),
    "classic-binding": bytes.fromhex("00010008") + bytes(range(16)) + bytes.fromhex("0003000400000006"),
    "classic-unknown": bytes.fromhex("0001000c") + bytes(range(16)) + bytes.fromhex("000200000024000070010000"),
    "allocate": message(0x0003, UDP),
    "allocate-signed": signed(0x0003, UDP, attribute(0x000D, bytes([0, 0, 2, 88]))),
    "allocate-sha256": signed(0x0003, UDP, sha256=True),
    "allocate-userhash": signed(0x0003, UDP, sha256=True, name=attribute(0x001E, bytes(32))),
    "allocate-everything": signed(
        0x0003,
        UDP,
        attribute(0x0018, b"\x80"),
        attribute(0x001A, b""),
        attribute(0x0017, b"\x02\0\0\0"),
        attribute(0x8000, b"\x02\0\0\0"),
        attribute(0x0022, bytes(8)),
    ),
    "allocate-error": message(0x0113, attribute(0x0009, b"\0\0\x04\x01Unauthenticated")),
    "refresh": signed(0x0004, attribute(0x000D, bytes(4))),
    "create-permission": signed(0x0008, PEER, PEER6),
    "channel-bind": signed(0x0009, attribute(0x000C, b"\x40\0\0\0"), PEER),
    "send": message(0x0016, PEER, attribute(0x0013, b"hello"), fingerprint=True),
    "data-icmp": message(0x0017, PEER6, attribute(0x8004, bytes([0, 0, 3, 4, 0, 0, 5, 0]))),
}


def main():
    folder = Path(__file__).parent / "corpus" / "stun"
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in SEEDS.items():
        (folder / name).write_bytes(seed)


if __name__ == "__main__":
    main()
