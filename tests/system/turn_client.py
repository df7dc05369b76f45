"""A TURN client that says exactly what a test tells it to say, written from RFC 8489 and RFC 8656 alone."""

import hashlib
import hmac
import ipaddress
import os
import socket
import struct
import zlib

COOKIE = 0x2112A442
BINDING, ALLOCATE, REFRESH, SEND, DATA, CREATE_PERMISSION, CHANNEL_BIND = 1, 3, 4, 6, 7, 8, 9
REQUEST, INDICATION, SUCCESS, ERROR = 0, 1, 2, 3

USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, UNKNOWN_ATTRIBUTES = 0x06, 0x08, 0x09, 0x0A
CHANNEL_NUMBER, LIFETIME, XOR_PEER_ADDRESS, DATA_ATTRIBUTE = 0x0C, 0x0D, 0x12, 0x13
REALM, NONCE, XOR_RELAYED_ADDRESS, REQUESTED_ADDRESS_FAMILY = 0x14, 0x15, 0x16, 0x17
EVEN_PORT, REQUESTED_TRANSPORT, DONT_FRAGMENT = 0x18, 0x19, 0x1A
MESSAGE_INTEGRITY_SHA256, PASSWORD_ALGORITHM, USERHASH = 0x1C, 0x1D, 0x1E
XOR_MAPPED_ADDRESS, RESERVATION_TOKEN = 0x20, 0x22
ADDITIONAL_ADDRESS_FAMILY, ADDRESS_ERROR_CODE, PASSWORD_ALGORITHMS = 0x8000, 0x8001, 0x8002
ICMP, SOFTWARE, FINGERPRINT = 0x8004, 0x8022, 0x8028
MOBILITY_TICKET = 0x8030


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message_type(method, message_class):
    return (
        (method & 0xF80) << 2
        | (method & 0x70) << 1
        | (method & 0x0F)
        | (message_class & 2) << 7
        | (message_class & 1) << 4
    )


def xor_address(address, port, transaction):
    packed = ipaddress.ip_address(address).packed
    mask = struct.pack("!I", COOKIE) + transaction
    return struct.pack("!BBH", 0, 1 if len(packed) == 4 else 2, port ^ COOKIE >> 16) + bytes(
        a ^ b for a, b in zip(packed, mask)
    )


def read_xor_address(value, transaction):
    port = struct.unpack("!H", value[2:4])[0] ^ COOKIE >> 16
    mask = struct.pack("!I", COOKIE) + transaction
    return str(ipaddress.ip_address(bytes(a ^ b for a, b in zip(value[4:], mask)))), port


def build(method, message_class, transaction, attributes, key=None, sha256=False, fingerprint=True):
    body = b"".join(attribute(kind, value) for kind, value in attributes)

    def header(extra):
        return struct.pack("!HHI", message_type(method, message_class), len(body) + extra, COOKIE) + transaction

    if key is not None and sha256:
        body += attribute(MESSAGE_INTEGRITY_SHA256, hmac.digest(key, header(36) + body, "sha256"))
    elif key is not None:
        body += attribute(MESSAGE_INTEGRITY, hmac.digest(key, header(24) + body, "sha1"))
    if fingerprint:
        body += attribute(FINGERPRINT, struct.pack("!I", zlib.crc32(header(8) + body) ^ 0x5354554E))
    return header(0) + body


class Message:
    def __init__(self, raw):
        kind, length, cookie = struct.unpack("!HHI", raw[:8])
        assert cookie == COOKIE and length == len(raw) - 20, raw
        self.raw, self.transaction = raw, raw[8:20]
        self.message_class = (kind >> 7 & 2) | (kind >> 4 & 1)
        self.method = (kind & 0x0F) | (kind >> 1 & 0x70) | (kind >> 2 & 0xF80)
        self.attributes, self.offsets, at = [], {}, 20
        while at < len(raw):
            kind, size = struct.unpack("!HH", raw[at : at + 4])
            self.attributes.append((kind, raw[at + 4 : at + 4 + size]))
            self.offsets.setdefault(kind, at)
            assert not any(raw[at + 4 + size : at + 4 + size + -size % 4]), "padding is zero"
            at += 4 + size + -size % 4

    def get(self, kind):
        return next((value for found, value in self.attributes if found == kind), None)

    def all(self, kind):
        return [value for found, value in self.attributes if found == kind]

    def address(self, kind):
        value = self.get(kind)
        return None if value is None else read_xor_address(value, self.transaction)

    @property
    def error(self):
        value = self.get(ERROR_CODE)
        return None if value is None else value[2] * 100 + value[3]

    def integrity_holds(self, key, sha256=False):
        kind, size, digest = (MESSAGE_INTEGRITY_SHA256, 32, "sha256") if sha256 else (MESSAGE_INTEGRITY, 20, "sha1")
        if kind not in self.offsets:
            return False
        at = self.offsets[kind]
        covered = self.raw[:2] + struct.pack("!H", at + 4 + size - 20) + self.raw[4:at]
        return hmac.compare_digest(hmac.digest(key, covered, digest), self.get(kind))


class TurnClient:
    """One five-tuple. `sha256`: RFC 8489 credentials with PASSWORD-ALGORITHM SHA-256; `userhash` likewise."""

    def __init__(
        self, sock, server, username="alice", password="secret", realm="example.org", sha256=False, userhash=False
    ):
        self.sock, self.server = sock, server
        self.username, self.password, self.realm = username, password, realm
        self.sha256, self.userhash = sha256, userhash
        self.nonce = self.algorithms = None
        self.other = []  # what came while an answer was awaited

    @property
    def key(self):
        text = f"{self.username}:{self.realm}:{self.password}".encode()
        return hashlib.sha256(text).digest() if self.sha256 else hashlib.md5(text).digest()

    def credentials(self):
        name = f"{self.username}:{self.realm}".encode()
        result = [
            (USERHASH, hashlib.sha256(name).digest()) if self.userhash else (USERNAME, self.username.encode()),
            (REALM, self.realm.encode()),
            (NONCE, self.nonce),
        ]
        if self.sha256:
            result += [(PASSWORD_ALGORITHMS, self.algorithms), (PASSWORD_ALGORITHM, struct.pack("!HH", 2, 0))]
        return result

    def send_raw(self, raw):
        self.sock.sendto(raw, self.server)

    def receive(self, transaction):
        while True:
            data = self.sock.recv(65536)
            if data[0] < 4 and data[8:20] == transaction:
                return Message(data)
            self.other.append(data)

    def exchange(self, raw, tries=5):
        """Sends and awaits the answer, as RFC 8489 §6.2.1 retransmits."""
        for attempt in range(tries):
            self.send_raw(raw)
            try:
                return self.receive(raw[8:20])
            except socket.timeout:
                if attempt == tries - 1:
                    raise
        return None

    def request(self, method, attributes=(), transaction=None, authenticate=True, after=()):
        """An authenticated request, after a first 401 or 438 if need be. `after`: attributes put behind
        the integrity."""
        for _ in range(3):
            identity = transaction or os.urandom(12)
            if callable(attributes):
                built = attributes(identity)
            else:
                built = list(attributes)
            if not authenticate or self.nonce is None:
                raw = build(method, REQUEST, identity, built)
            else:
                raw = build(method, REQUEST, identity, built + self.credentials(), self.key, self.sha256)
            answer = self.exchange(raw)
            if authenticate and answer.error in (401, 438) and answer.get(NONCE) not in (None, self.nonce):
                self.nonce, self.algorithms = answer.get(NONCE), answer.get(PASSWORD_ALGORITHMS)
                transaction = None
                continue
            self.last_request = raw
            return answer
        return answer

    def allocate(self, *extra, transport=17, **options):
        return self.request(ALLOCATE, [(REQUESTED_TRANSPORT, bytes([transport, 0, 0, 0])), *extra], **options)

    def refresh(self, lifetime=None, *extra):
        given = [] if lifetime is None else [(LIFETIME, struct.pack("!I", lifetime))]
        return self.request(REFRESH, given + list(extra))

    def create_permission(self, *peers):
        return self.request(
            CREATE_PERMISSION, lambda t: [(XOR_PEER_ADDRESS, xor_address(peer, 0, t)) for peer in peers]
        )

    def channel_bind(self, number, peer, port):
        return self.request(
            CHANNEL_BIND,
            lambda t: [(CHANNEL_NUMBER, struct.pack("!HH", number, 0)), (XOR_PEER_ADDRESS, xor_address(peer, port, t))],
        )

    def send(self, peer, port, data, *extra):
        transaction = os.urandom(12)
        self.send_raw(
            build(
                SEND,
                INDICATION,
                transaction,
                [(XOR_PEER_ADDRESS, xor_address(peer, port, transaction)), (DATA_ATTRIBUTE, data), *extra],
                fingerprint=False,
            )
        )

    def channel_data(self, number, data):
        self.send_raw(struct.pack("!HH", number, len(data)) + data)

    def receive_any(self):
        """The next thing that is not an answer: ('channel', number, data) or a Message."""
        data = self.other.pop(0) if self.other else self.sock.recv(65536)
        if data[0] < 4:
            return Message(data)
        number, size = struct.unpack("!HH", data[:4])
        return "channel", number, data[4 : 4 + size]
