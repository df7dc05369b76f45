"""A STUN server of two addresses that does half of what RFC 5780 asks, in threads of this process: what is between it
and its clients can't be told by it, and must not be guessed."""

import contextlib
import select
import socket
import struct
import threading

COOKIE = 0x2112A442
CHANGE_REQUEST, PADDING, RESPONSE_PORT, OTHER_ADDRESS = 0x0003, 0x0026, 0x0027, 0x802C


def attributes_of(message):
    at, found = 20, {}
    while at + 4 <= len(message):
        kind, size = struct.unpack_from("!HH", message, at)
        found[kind] = message[at + 4 : at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
    return found


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value


def mapped(address, port, kind=0x0020):
    number = int.from_bytes(socket.inet_aton(address), "big")
    if kind == 0x0020:
        port, number = port ^ (COOKIE >> 16), number ^ COOKIE
    return attribute(kind, struct.pack("!BBHI", 0, 1, port, number))


class FakeStun:
    """Answers at both of `ports` of both `addresses`, always from where it was asked. `refuses`: attributes that get
    420; `other`: what it claims as OTHER-ADDRESS; else the truth; `mute`: ends that don't answer."""

    def __init__(self, host, addresses, ports, *, refuses=(), other=None, mute=()):
        self.refuses, self.other = refuses, other
        self.ends = {}
        for n, address in enumerate(addresses):
            for m, port in enumerate(ports):
                self.ends[host.udp(address, port)] = (addresses[1 - n], ports[1 - m])
        self.mute = mute
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while not self.stopped.is_set():
            for sock in select.select(list(self.ends), [], [], 0.05)[0]:
                data, source = sock.recvfrom(65536)
                if len(data) >= 20 and data[:2] == b"\0\1" and sock.getsockname() not in self.mute:
                    sock.sendto(self.answer(data, source, self.ends[sock]), source)

    def answer(self, request, source, other):
        refused = [kind for kind in attributes_of(request) if kind in self.refuses]
        if refused:
            body = attribute(0x0009, struct.pack("!HBB", 0, 4, 20))
            return struct.pack("!HH", 0x0111, len(body)) + request[4:20] + body
        body = mapped(*source) + mapped(*(self.other or other), kind=OTHER_ADDRESS)
        return struct.pack("!HH", 0x0101, len(body)) + request[4:20] + body

    def close(self):
        self.stopped.set()
        self.thread.join()
        for sock in self.ends:
            with contextlib.suppress(OSError):
                sock.close()
