"""Media of several calls at a steady rate, there and back, each packet numbered: which were lost, and when."""

import os
import select
import socket
import struct
import threading
import time

import turn_client as turn
from turn_client import TurnClient

CHANNEL = 0x4000
KEEP_S = 1.5  # between refreshes; a permission lives for 300 s of the relay's clock
FILL = bytes(152)
SO_RCVBUFFORCE = 33


class Flow:
    """A client, its allocation and its peer, which sends everything back."""

    def __init__(self, number, host, address, server, relayed, peer, by_channel):
        self.number, self.host, self.address, self.server = number, host, address, server
        self.relayed_family, self.peer, self.by_channel = relayed, peer, by_channel
        self.client = None
        self.refused = {}

    def open(self):
        sock = self.host.udp(self.address)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        self.client = TurnClient(sock, (self.server, 3478))
        family = bytes([1 if self.relayed_family == 4 else 2, 0, 0, 0])
        answer = self.client.allocate((turn.REQUESTED_ADDRESS_FAMILY, family))
        assert answer.message_class == turn.SUCCESS, f"flow {self.number}: {answer.error}"
        self.relayed = answer.address(turn.XOR_RELAYED_ADDRESS)
        if self.by_channel:
            answer = self.client.channel_bind(CHANNEL, *self.peer)
        else:
            answer = self.client.create_permission(self.peer[0])
        assert answer.message_class == turn.SUCCESS, f"flow {self.number}: {answer.error}"
        sock.setblocking(False)
        self.sent, self.there, self.back = [], bytearray(), bytearray()
        self.keep_at = time.monotonic() + KEEP_S * self.number / 8

    def close(self):
        sock = self.client.sock
        sock.settimeout(1)
        self.client.other.clear()
        try:
            self.client.refresh(0)
        finally:
            sock.close()

    def keep(self):
        """Asks without awaiting: what answers say is heard by answered()."""
        one = self.client
        for method in (turn.REFRESH, turn.CHANNEL_BIND if self.by_channel else turn.CREATE_PERMISSION):
            identity = os.urandom(12)
            peer = turn.xor_address(self.peer[0], self.peer[1] if self.by_channel else 0, identity)
            attributes = {
                turn.REFRESH: [],
                turn.CREATE_PERMISSION: [(turn.XOR_PEER_ADDRESS, peer)],
                turn.CHANNEL_BIND: [
                    (turn.CHANNEL_NUMBER, struct.pack("!HH", CHANNEL, 0)),
                    (turn.XOR_PEER_ADDRESS, peer),
                ],
            }[method]
            one.send_raw(turn.build(method, turn.REQUEST, identity, attributes + one.credentials(), one.key))

    def send(self, now):
        payload = struct.pack("!II", self.number, len(self.sent)) + FILL
        self.sent.append(now)
        self.there.append(0)
        self.back.append(0)
        if self.by_channel:
            self.client.channel_data(CHANNEL, payload)
        else:
            self.client.send(*self.peer, payload)

    def hear(self, data):
        if data[0] >= 4:
            return self.arrived(data[4:])
        message = turn.Message(data)
        if message.message_class == turn.INDICATION:
            payload = message.get(turn.DATA_ATTRIBUTE)
            if payload is not None:  # else an ICMP error
                self.arrived(payload)
        elif message.error == 438:
            self.client.nonce = message.get(turn.NONCE)
            self.keep_at = 0
        elif message.error is not None:
            self.refused[message.error] = self.refused.get(message.error, 0) + 1

    def arrived(self, payload):
        number, index = struct.unpack("!II", payload[:8])
        assert number == self.number, "another's media"
        self.back[index] = 1


class Media:
    """All flows of a lab, in one thread while they run."""

    def __init__(self, lab, far4, far6, per_second):
        self.lab, self.per_second = lab, per_second
        self.peers = {address: lab.peer.udp(address) for address in (lab.PEER4, lab.PEER6, far4, far6)}
        for sock in self.peers.values():
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        four, six = (lab.CLIENT4, lab.SERVER4), (lab.CLIENT6, lab.SERVER6)
        self.flows = [
            Flow(number, lab.client, *client, 6 if ":" in peer else 4, self.peers[peer].getsockname()[:2], by_channel)
            for number, (client, peer, by_channel) in enumerate(
                [
                    (four, lab.PEER4, True),
                    (four, far4, True),
                    (four, lab.PEER4, False),
                    (four, far4, False),
                    (six, lab.PEER6, True),
                    (six, far6, False),
                    (four, lab.PEER6, True),
                    (six, far4, False),
                ]
            )
        ]
        self.error = None

    def start(self):
        for flow in self.flows:
            flow.open()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def stop(self):
        """Ends sending, hears what is on its way, gives allocations back."""
        self.stopping.set()
        self.thread.join()
        for flow in self.flows:
            flow.close()
        if self.error:
            raise self.error

    def run(self):
        try:
            self.poll = select.poll()
            self.by_fd = {}
            for flow in self.flows:
                self.by_fd[flow.client.sock.fileno()] = flow
            for sock in self.peers.values():
                self.by_fd[sock.fileno()] = sock
            for descriptor in self.by_fd:
                self.poll.register(descriptor, select.POLLIN)
            next_at = time.monotonic()
            while not self.stopping.is_set():
                now = time.monotonic()
                if now >= next_at:
                    # What this process was too late for is not sent in one go.
                    next_at = max(next_at + 1 / self.per_second, now)
                    for flow in self.flows:
                        flow.send(now)
                        if now > flow.keep_at:
                            flow.keep_at = now + KEEP_S
                            flow.keep()
                self.listen(max(0, next_at - time.monotonic()))
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                self.listen(0.1)
        except Exception as error:  # told by stop()
            self.error = error

    def listen(self, seconds):
        for descriptor, _ in self.poll.poll(seconds * 1000):
            one = self.by_fd[descriptor]
            for _ in range(64):
                try:
                    if isinstance(one, Flow):
                        one.hear(one.client.sock.recv(2000))
                    else:
                        data, source = one.recvfrom(2000)
                        self.echo(one, data, source)
                except BlockingIOError:
                    break
                except OSError:  # a link that is down
                    break

    def echo(self, sock, data, source):
        if len(data) != 8 + len(FILL):
            return  # of those who vanish, and fragments
        number, index = struct.unpack("!II", data[:8])
        flow = self.flows[number]
        if source[:2] != flow.relayed or index >= len(flow.sent):
            return
        flow.there[index] = 1
        sock.sendto(data, source)

    def judge(self, windows):
        """(sent there and back, {cause: {(flow, way): when}} of what was lost). `windows`: [(begin, end, cause)];
        None: no cause is known."""
        sent, lost = 0, {}
        for flow in self.flows:
            for at, there, back in zip(flow.sent, flow.there, flow.back):
                sent += 1 + there
                if there and back:
                    continue
                cause = next((cause for begin, end, cause in windows if begin <= at <= end), None)
                way = flow.number, "back" if there else "there"
                lost.setdefault(cause, {}).setdefault(way, []).append(at)
        return sent, lost
