#!/usr/bin/python3
"""Writes corpus/engine: sequences that reach each kind of success, and each way to end, for the fuzzer to start from.

Two bytes for the world and eight for each step, as engine_fuzz.cpp reads them.
"""

from pathlib import Path

THREE_SHARDS, DUAL, FEW_PORTS, FEW_ALLOCATIONS, STRICT, SOFTWARE = (1 << i for i in range(6))
MD5, SHA256 = 1, 2  # how to sign; 0: as RFC 5389 has it
OLD_NONCE, FOREIGN_NONCE, BAD_NONCE = 4, 8, 12
WRONG_KEY, UNSIGNED = 16, 32
OTHER_USER, UNKNOWN_USER, USERHASH = 16, 32, 48
SAME_ID, FINGERPRINT = 64, 128
SECOND_LISTENER, REDIRECTED = 8, 12
LIFETIME, FAMILY, BOTH_FAMILIES, EVEN_PORT, TOKEN = 2, 4, 8, 16, 32
PAIR, EVEN_ONLY = 0, 16  # with EVEN_PORT
IPV6 = 2
LATE, FULL, NO_ANN, NO_BOB = 1, 2, 4, 8


def world(shape=0, seed=1):
    return bytes([shape, seed])


def allocate(client=0, how=0, mix=0, lifetime=0, families=0, token=0):
    return bytes([0, client, how, mix, lifetime, families, token, 0])


def refresh(client=0, how=0, mix=0, lifetime=0, family=0):
    return bytes([3, client, how, mix, lifetime, family, 0, 0])


def permit(client=0, peers=(0,), how=0):
    return bytes([5, client, how, len(peers) - 1, *peers, *bytes(4 - len(peers))])


def bind(client=0, number=0, peer=0, how=0):
    return bytes([7, client, how, 0, number, peer, 0, 0])


def again(client=0, damage=0, at=0, bit=0):
    return bytes([9, client, 0, damage, at & 255, at >> 8, bit, 0])


def noise(data, client=0):
    return bytes([10, client, 0, 0, 0, 0, 0, len(data)]) + data


def short_while(ten_ms):
    return bytes([11, ten_ms, 0, 0, 0, 0, 0, 0])


def long_while(twenty_s, stalled=0):
    return bytes([12, twenty_s, stalled, 0, 0, 0, 0, 0])


def keys(which=0):
    return bytes([13, which, 0, 0, 0, 0, 0, 0])


def switch(what=0, room=0):
    return bytes([14, what, room, 0, 0, 0, 0, 0])


ALL_OF_IT = allocate() + permit(peers=(0, 2)) + bind() + bind(number=1, peer=2)

SEEDS = {
    "ended": world() + ALL_OF_IT + refresh() + permit() + allocate(),
    "expired": world(SOFTWARE) + ALL_OF_IT + long_while(10) + permit() + long_while(10) + long_while(30),
    "kept": world(DUAL) + ALL_OF_IT + (long_while(14) + refresh(lifetime=60) + bind() + permit()) * 3,
    "ended-between": world(THREE_SHARDS) + ALL_OF_IT + long_while(200, stalled=7) + bind() + allocate(),
    "permission-kept": world() + allocate() + permit() + long_while(6) + bind() + long_while(12) + permit(),
    "permission-runs-out": world() + allocate() + bind() + long_while(16) + permit() + bind() + long_while(16),
    "reservation": world(THREE_SHARDS)
    + allocate(mix=EVEN_PORT, families=PAIR)
    + allocate(2, mix=TOKEN, token=1)
    + refresh()
    + allocate(mix=TOKEN, token=1)
    + bind(2),
    "reservation-runs-out": world(FEW_PORTS)
    + allocate(mix=EVEN_PORT, families=PAIR)
    + long_while(2)
    + allocate(2, mix=TOKEN, token=1)
    + allocate(1, mix=EVEN_PORT, families=EVEN_ONLY),
    "dual": world(DUAL)
    + allocate(mix=BOTH_FAMILIES)
    + permit(peers=(0, 6))
    + bind(peer=0)
    + bind(number=1, peer=6)
    + refresh(mix=2, family=1)
    + permit(peers=(0,))
    + permit(peers=(6,))
    + refresh(mix=2, family=2),
    "half-dual": world() + allocate(mix=BOTH_FAMILIES) + allocate(2, mix=FAMILY, families=IPV6) + permit(peers=(6,)),
    "ipv6": world(DUAL | FEW_PORTS)
    + allocate(2 | USERHASH, SHA256, FAMILY, 0, IPV6)
    + bind(2 | USERHASH, peer=6, how=SHA256)
    + refresh(2 | USERHASH, SHA256),
    "listeners": world(THREE_SHARDS)
    + allocate(0)
    + allocate(SECOND_LISTENER)
    + allocate(REDIRECTED)
    + allocate(3)
    + bind(0)
    + bind(SECOND_LISTENER, peer=2)
    + refresh(0)
    + permit(SECOND_LISTENER),
    "impossible-sizes": world()
    + bytes([0, 0, 0, 0, 0, 0, 0, 128 | 12])
    + bytes([0, 0, 0, 0, 0, 0, 0, 128 | 10])
    + bytes([0, 48, 0, 0, 0, 0, 31, 128 | 11]),
    "quota": world() + b"".join(allocate(c, MD5) for c in (0, 2, 8, 10)) + refresh() + allocate(10),
    "few-allocations": world(FEW_ALLOCATIONS) + b"".join(allocate(c) for c in (0, 1, 2)) + refresh() + allocate(2),
    "refused": world()
    + bytes([0, 0, 0, 0, 0, 0, 0, 64])
    + bytes([0, 0, 0, 0, 0, 0, 0, 128 | 14])
    + allocate()
    + bind(number=4)
    + bind(number=6)
    + bind(peer=5)
    + bind(peer=7)
    + bind()
    + bind(number=1)
    + permit(peers=(0, 5)),
    "ports": world(FEW_PORTS | THREE_SHARDS)
    + b"".join(allocate(c | (c & 1) << 4) for c in (0, 1, 2, 8, 9, 10))
    + refresh(2)
    + long_while(3)
    + allocate(2),
    "late": world(STRICT)
    + switch(LATE)
    + allocate()
    + again()
    + keys()
    + allocate(1)
    + long_while(1)
    + keys(1)
    + refresh()
    + switch(LATE | NO_ANN)
    + keys()
    + refresh()
    + keys(),
    "struck-off": world() + allocate() + switch(NO_ANN) + bind() + allocate(2) + refresh(),
    "full": world(DUAL)
    + switch(FULL)
    + allocate(mix=EVEN_PORT)
    + switch()
    + allocate(mix=BOTH_FAMILIES)
    + switch(FULL)
    + permit()
    + bind()
    + switch(FULL, room=1)
    + bind()
    + permit(peers=(0, 2))
    + switch()
    + bind(peer=3),
    "forged": world()
    + allocate(how=WRONG_KEY)
    + allocate(how=UNSIGNED)
    + allocate(UNKNOWN_USER)
    + allocate(how=BAD_NONCE)
    + allocate(how=FOREIGN_NONCE)
    + allocate(how=3)
    + allocate()
    + permit(OTHER_USER),
    "stale": world()
    + allocate()
    + long_while(29)
    + refresh(how=OLD_NONCE, lifetime=200)
    + refresh(lifetime=200)
    + long_while(29)
    + permit(how=OLD_NONCE)
    + permit(),
    "repeated": world()
    + allocate(FINGERPRINT)
    + again()
    + refresh()
    + again()
    + allocate()
    + refresh()
    + allocate(SAME_ID)
    + again(damage=3)
    + again(damage=1, at=25, bit=2)
    + again(damage=2, at=60),
    "noise": world()
    + noise(b"")
    + noise(bytes.fromhex("000300002112a442") + bytes(12))
    + allocate()
    + noise(bytes.fromhex("000300042112a442") + bytes(12) + b"\0\x19\0\x20")
    + short_while(3)
    + noise(b"\x40\0\0\0"),
}


def main():
    folder = Path(__file__).parent / "corpus" / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in SEEDS.items():
        (folder / name).write_bytes(seed)


if __name__ == "__main__":
    main()
