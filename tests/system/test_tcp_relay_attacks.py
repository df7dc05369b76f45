"""Allocations of TCP (RFC 6062) against who means harm, or is slow, or gone: nothing stays, nobody else waits."""

import contextlib
import re
import socket
import subprocess
import threading
import time

import turn_client as turn
from lab import wait_for
from test_streams import ok
from test_tcp_relay import (  # noqa: F401
    CONNECTION_ID,
    FAST,
    RELAY,
    TCP,
    Client,
    accept,
    dial,
    linked,
    listen,
    nothing_left,
    open_sockets,
    relay,
    start,
)


def test_nothing_stays_of_clients_that_are_killed(fresh_lab, start):
    lab = fresh_lab
    relay = start(FAST)
    peers = listen(lab)
    # What is opened by the first of all and stays, is.
    Client.make(lab).allocate_tcp()
    nothing_left(relay)
    relay.metrics()
    before = open_sockets(relay)
    for _ in range(3):
        clients = []
        for state in range(6):
            client = Client.make(lab)
            clients.append(client)
            relayed = client.allocate_tcp()
            ok(client.create_permission(lab.PEER4))
            if state == 0:
                continue
            if state == 1:
                client.begin_connect("10.201.2.200", 80)
                continue
            if state == 2:
                clients.append(dial(lab, *relayed))
                client.attempt()
                continue
            answer = ok(client.connect_to(*peers.getsockname()))
            peer, _ = accept(peers)
            if state == 3:
                continue
            data = client.bind(answer.get(CONNECTION_ID))
            clients += [data, peer]
            if state == 5:
                peer.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        peer.send(bytes(65536))
        # As a process that is killed: the kernel closes all at once.
        for one in clients:
            (one.sock if isinstance(one, Client) else one).close()
        nothing_left(relay)
        wait_for(lambda: open_sockets(relay) <= before, 10, "descriptors closed")


def test_who_does_not_read_is_not_read_for(lab, relay):
    """Memory is what the kernel's buffers and a read hold; what waits comes when it is asked for."""

    def memory():
        with open(f"/proc/{relay.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])

    peers = listen(lab)
    client, data, peer = linked(lab, peers)
    before, sent = memory(), 0
    data.sock.settimeout(1)
    with contextlib.suppress(OSError):
        while True:
            sent += data.sock.send(bytes(65536))
    assert memory() - before < 20_000, "no more than it reads at a time"
    assert ok(client.refresh()).get(turn.LIFETIME), "nobody else waits"
    got = 0
    while got < sent:
        got += len(peer.recv(1 << 20))
    assert got == sent


def test_a_scanner_beside_media(fresh_lab, start):
    """A thousand Connects a second: the rest is refused, and media and others go on."""
    lab = fresh_lab
    relay = start(RELAY)
    uclient = lab.client.start(
        "turnutils_uclient", "-u", "alice", "-w", "secret", "-y", "-c", "-n", "200", "-m", "4", "-l", "160", "-z", "20",
        lab.SERVER4, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    scanner = Client.make(lab)
    scanner.allocate_tcp()
    answers = []

    def hear():
        with contextlib.suppress(OSError, AssertionError):
            while True:
                answers.append(turn.Message(scanner.next_message()).error)

    hearing = threading.Thread(target=hear)
    hearing.start()
    begin, asked = time.monotonic(), 0
    while time.monotonic() - begin < 4:
        scanner.begin_connect("10.201.2.2", 1 + asked % 60000)
        asked += 1
        time.sleep(max(0, begin + asked / 1000 - time.monotonic()))
    output = uclient.communicate(timeout=60)[0]
    scanner.sock.shutdown(socket.SHUT_RDWR)
    hearing.join()
    assert re.search(r"Total lost packets 0", output), output[-2000:]
    tried = sum(relay.total("turnpike_requests_total", method="connect", result=r) for r in ("success", "447"))
    assert 0 < tried <= 20 + 6 * 5, tried
    refused = relay.total("turnpike_limit_refusals_total", limit="connects_per_user")
    # Most don't even reach an engine: requests are limited, too.
    assert asked > 2000 and refused > 20, (asked, refused)


def test_too_many_sockets_are_refused(fresh_lab, start):
    lab = fresh_lab
    relay = start(FAST + "sockets = 4\n")
    peers = listen(lab)
    client = Client.make(lab)
    relayed = client.allocate_tcp()
    ok(client.create_permission(lab.PEER4))
    others = [listen(lab) for _ in range(3)]
    for other in others:
        ok(client.connect_to(*other.getsockname()))
    assert client.connect_to(*peers.getsockname()).error == 508
    assert dial(lab, *relayed).recv(1) == b""
    assert Client.make(lab).allocate(transport=TCP).error == 508
    assert relay.total("turnpike_peer_stream_failures_total", reason="full") == 3
    client.sock.close()
    nothing_left(relay)
    Client.make(lab).allocate_tcp()
