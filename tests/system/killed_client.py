"""A client with connections in every state, to be killed: killed_client.py SERVER PEER UDP-PORT TCP-PORT NOBODY, of a
relay with TCP at 3478 and TLS at 5349. The peer echoes at the one port and accepts at the other; NOBODY doesn't answer.
Says how many allocations it has."""

import contextlib
import os
import socket
import sys
import time
from types import SimpleNamespace

import turn_client as turn
from stream_attacker import BINDING, Attacker
from test_streams import ok
from test_tcp_relay import CONNECTION_ID, Client

ENDS = {"port": 3478}, {"port": 5349, "name": "turn.example.org"}


def begun(attacker):
    """Silent, in a handshake."""
    texts = (3478, b""), (5349, b""), (5349, attacker.hello()[:60]), (5349, attacker.hello())
    for port, text in texts:
        sock = attacker.connect(port)
        sock.sendall(text)
        yield sock


def without_allocation(here, end):
    """In the middle of a message, asked for credentials."""
    client = Client.make(here, **end)
    client.sock.sendall(BINDING[:7])
    yield client
    client = Client.make(here, **end)
    assert client.request(turn.ALLOCATE, authenticate=False).error == 401
    yield client


def asking(here, end):
    """Killed before the answer, perhaps."""
    client = Client.make(here, **end)
    ok(client.allocate())
    refresh = turn.build(turn.REFRESH, turn.REQUEST, os.urandom(12), client.credentials(), client.key, client.sha256)
    for _ in range(20):
        client.send_raw(refresh)
    return client


def with_media(here, end, peer, port):
    """That comes back and isn't read."""
    client = Client.make(here, **end)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    ok(client.allocate())
    ok(client.channel_bind(0x4000, peer, port))
    for _ in range(200):
        client.channel_data(0x4000, bytes(1000))
    return client


def with_connections(here, end, peer, port, nobody):
    """To peers, RFC 6062: one that is bound and has data waiting, one that isn't bound, one that is being made."""
    client = Client.make(here, **end)
    client.allocate_tcp()
    bound = client.bind(ok(client.connect_to(peer, port)).get(CONNECTION_ID), behind=bytes(100_000))
    unbound = Client.make(here, **end)
    unbound.allocate_tcp()
    ok(unbound.connect_to(peer, port))
    unbound.begin_connect(nobody, port)
    return client, bound, unbound


def main(server, peer, udp, tcp, nobody):
    here = SimpleNamespace(SERVER4=server, client=SimpleNamespace(inside=contextlib.nullcontext))
    kept = [*begun(Attacker(server, 3478, 5349, 0))]
    allocations = 0
    for end in ENDS:
        kept += without_allocation(here, end)
        for _ in range(3):
            kept.append(with_media(here, end, peer, int(udp)))
            kept.append(with_connections(here, end, peer, int(tcp), nobody))
            kept.append(asking(here, end))
            allocations += 4
    print(allocations, flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
