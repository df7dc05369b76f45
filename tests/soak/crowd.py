"""Who else is there: clients that come and go, hostile users, strangers; and who changes routes and links. Each is a
thread that does one thing after another, as its own random numbers say, until it is told to stop."""

import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import turn_client as turn
from test_fragments import pieces, raw, udp
from turn_client import TurnClient

FLOOD = Path(__file__).resolve().parents[1] / "system" / "flood.py"


class Actor:
    """A thread that calls act() every `pause_s` or so."""

    pause_s = 0.1

    def __init__(self, lab, seed):
        self.lab = lab
        self.random = random.Random(f"{seed} {type(self).__name__}")
        self.counts, self.error = {}, None

    def start(self):
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.thread.join()
        if self.error:
            raise self.error

    def run(self):
        try:
            while not self.stopping.wait(self.random.uniform(0, 2 * self.pause_s)):
                try:
                    self.act()
                except TimeoutError:
                    self.count("unanswered")
            self.rest()
        except Exception as error:  # told by stop()
            self.error = error

    def count(self, what, n=1):
        self.counts[what] = self.counts.get(what, 0) + n

    def act(self):
        raise NotImplementedError

    def rest(self):
        pass

    def client(self, user="alice", password="secret"):
        six = self.random.random() < 0.3
        lab = self.lab
        sock = lab.client.udp(lab.CLIENT6 if six else lab.CLIENT4)
        return TurnClient(
            sock,
            (lab.SERVER6 if six else lab.SERVER4, 3478),
            user,
            password,
            sha256=self.random.random() < 0.3,
            userhash=self.random.random() < 0.2,
        )


class Vanishing(Actor):
    """Clients that make an allocation and what hangs on it, and are never heard of again."""

    pause_s = 0.15

    def act(self):
        one, lab = self.client(), self.lab
        with one.sock:
            extra = self.random.choice(
                [
                    [],
                    [],
                    [(turn.ADDITIONAL_ADDRESS_FAMILY, bytes([2, 0, 0, 0]))],
                    [(turn.REQUESTED_ADDRESS_FAMILY, bytes([2, 0, 0, 0]))],
                ]
            )
            answer = one.allocate(*extra)
            self.count("allocated" if answer.error is None else f"allocate {answer.error}")
            if answer.error is not None:
                return
            peer = lab.PEER6 if extra and extra[0][0] == turn.REQUESTED_ADDRESS_FAMILY else lab.PEER4
            one.create_permission(peer)
            if self.random.random() < 0.5:
                one.channel_bind(0x4000 + self.random.randrange(100), peer, self.random.randrange(1024, 65536))
            if peer == lab.PEER4 and self.random.random() < 0.3:  # a loop through itself: hairpin
                relayed = answer.address(turn.XOR_RELAYED_ADDRESS)
                one.create_permission(relayed[0])
                one.send(*relayed, b"to myself")
                one.send(relayed[0], relayed[1] ^ 1, b"to a port that nobody has")
            one.send(peer, self.random.randrange(1024, 65536), b"to nobody")


class Rebinding(Actor):
    """Clients that refresh, move to another port, bind again, send fragments, and go properly or don't."""

    pause_s = 0.3

    def act(self):
        one, lab = self.client(), self.lab
        with one.sock:
            six = ":" in one.server[0]
            peer = lab.PEER6 if six else lab.PEER4
            answer = one.allocate((turn.REQUESTED_ADDRESS_FAMILY, bytes([2 if six else 1, 0, 0, 0])))
            if answer.error is not None:
                return self.count(f"allocate {answer.error}")
            for number in range(3):
                one.channel_bind(0x4000, peer, 5000 + number % 2)  # the second time 400: bound to another
                self.count("refreshed", one.refresh().error is None)
            if lab.fragments:
                self.fragments(one, peer)
            if self.random.random() < 0.5:
                one.refresh(0)
            moved = self.client()
            with moved.sock:
                moved.nonce = one.nonce  # another's address
                moved.algorithms = one.algorithms
                self.count(f"moved {moved.refresh(600).error}")
        return None

    def fragments(self, one, peer):
        """A datagram of three pieces in any order, now and then without one of them."""
        source, destination = one.sock.getsockname()[:2], one.server[0]
        body = os.urandom(3000)
        parts = pieces(
            source[0],
            destination,
            udp(source[0], destination, source[1], 3478, struct.pack("!HH", 0x4000, len(body)) + body),
        )
        self.random.shuffle(parts)
        if self.random.random() < 0.3:
            parts.pop()
        with raw(self.lab.client, destination) as send:
            for part in parts:
                send(part)
        self.count("fragments", len(parts))


class Hostile(Actor):
    """A user who takes what he can get."""

    pause_s = 0.5

    def act(self):
        one = self.client("mallory", "evil")
        with one.sock:
            answer = one.allocate((turn.EVEN_PORT, b"\x80"))
            self.count(f"reserving {answer.error}")
            token = answer.get(turn.RESERVATION_TOKEN)
            if token and self.random.random() < 0.3:
                with self.client("mallory", "evil") as second:
                    self.count(f"redeeming {second.allocate((turn.RESERVATION_TOKEN, token)).error}")
            if answer.error is None:
                self.random.choice([self.nobody_on_link, self.flood_of_permissions, self.many_channels])(one)

    def client(self, *arguments):
        return ClosingClient(super().client(*arguments))

    def nobody_on_link(self, one):
        hosts = [f"10.201.2.{self.random.randrange(10, 255)}" for _ in range(60)]
        one.create_permission(*hosts)
        for host in hosts:
            one.send(host, 9, b"anybody there?")
        self.count("to nobody", len(hosts))

    def flood_of_permissions(self, one):
        """Over an allocation's 256, and faster than requests may come."""
        for _ in range(120):
            identity = os.urandom(12)
            peers = [
                (turn.XOR_PEER_ADDRESS, turn.xor_address(f"10.201.{self.random.randrange(256)}.{host}", 0, identity))
                for host in range(1, 20)
            ]
            one.send_raw(
                turn.build(
                    turn.CREATE_PERMISSION, turn.REQUEST, identity, peers + one.credentials(), one.key, one.sha256
                )
            )
        self.count("permission flood", 120)

    def many_channels(self, one):
        for number in range(60):
            error = one.channel_bind(0x4000 + number, f"10.201.2.{10 + number}", 7).error
            self.count(f"channel {error}")


class ClosingClient(TurnClient):
    def __init__(self, one):
        self.__dict__.update(one.__dict__)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


class Stranger(Actor):
    """Has no credentials, and sends everything else."""

    pause_s = 0.02

    def __init__(self, lab, seed, media):
        super().__init__(lab, seed)
        self.media = media
        self.sock = lab.stranger.udp(lab.STRANGER4)
        self.server = (lab.SERVER4, 3478)
        with lab.stranger.inside():
            self.icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.flood = None
        self.flood_at = time.monotonic() + 5

    def act(self):
        {
            0: self.allocate,
            1: self.bomb,
            2: self.classic,
            3: self.garbage,
            4: self.fragments,
            5: self.icmp_error,
            6: self.relayed,
        }[self.random.choice([0, 1, 2, 3, 4, 5, 6] if self.lab.fragments else [0, 1, 2, 3, 5, 6])]()
        if self.flood and self.flood.poll() is not None:
            self.count("flooded", int(self.flood.communicate()[0]))
            self.lab.stranger.processes.remove(self.flood)
            self.flood, self.flood_at = None, time.monotonic() + self.random.uniform(4, 12)
        if self.flood is None and time.monotonic() > self.flood_at:
            message = self.random.choice(
                [
                    self.an_allocate(),
                    self.a_bomb(),
                    os.urandom(200),
                    turn.build(turn.BINDING, turn.REQUEST, os.urandom(12), []),
                ]
            )
            self.flood = self.lab.stranger.start(
                sys.executable,
                FLOOD,
                self.lab.STRANGER4,
                40000,
                *self.server,
                5000,
                10000,
                2,
                message.hex(),
                stdout=subprocess.PIPE,
            )

    def rest(self):
        if self.flood:
            self.count("flooded", int(self.flood.communicate()[0]))
            self.lab.stranger.processes.remove(self.flood)
            self.flood = None

    def send(self, what, data):
        self.sock.sendto(data, self.server)
        self.count(what)

    @staticmethod
    def an_allocate():
        return turn.build(turn.ALLOCATE, turn.REQUEST, os.urandom(12), [(turn.REQUESTED_TRANSPORT, b"\x11\0\0\0")])

    def a_bomb(self):
        method, kind = self.random.choice([(turn.ALLOCATE, turn.REQUEST), (turn.SEND, turn.INDICATION)])
        return turn.build(method, kind, os.urandom(12), [(turn.SOFTWARE, b"")] * 345, fingerprint=False)

    def allocate(self):
        self.send("allocate", self.an_allocate())

    def bomb(self):
        self.send("bomb", self.a_bomb())

    def classic(self):
        method = self.random.choice([1, 1, 2])
        self.send("classic", struct.pack("!HH", method, 0) + os.urandom(16))

    def garbage(self):
        data = self.random.choice(
            [
                os.urandom(self.random.randrange(1400)),
                self.an_allocate()[:-5],
                b"",
                b"\x40\x00\xff\xff",
                turn.build(77, turn.REQUEST, os.urandom(12), []),
            ]
        )
        self.send("garbage", data)

    def fragments(self):
        """Late, early, alone, overlapping."""
        data = udp(self.lab.STRANGER4, self.lab.SERVER4, 40001, 3478, os.urandom(4000))
        parts = pieces(self.lab.STRANGER4, self.lab.SERVER4, data, self.random.choice([1448, 800]))
        self.random.shuffle(parts)
        parts = parts[: self.random.randrange(1, len(parts) + 1)] + parts[: self.random.randrange(2)]
        with raw(self.lab.stranger, self.lab.SERVER4) as send:
            for part in parts:
                send(part)
        self.count("fragments", len(parts))

    def icmp_error(self):
        """About media that are there, as who forges it might guess; and about none."""
        flow = self.random.choice([flow for flow in self.media.flows if flow.relayed_family == 4])
        port = flow.relayed[1] if self.random.random() < 0.7 else self.random.randrange(1024, 65536)
        to = self.random.choice([flow.peer[0], flow.peer[0], "198.51.100.1"])
        quote = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 28 + 160, 1, 0, 60, 17, 0, *map(socket.inet_aton, (self.lab.RELAY4, to))
        )
        quote += struct.pack("!HHHH", port, flow.peer[1], 168, 0)
        kind, code = self.random.choice([(3, 3), (3, 4), (3, 1), (11, 0), (5, 0)])
        message = struct.pack("!BBHHH", kind, code, 0, 0, self.random.choice([0, 68, 576, 1280])) + quote
        total = sum(struct.unpack(f"!{len(message) // 2}H", message))
        total = (total >> 16) + (total & 0xFFFF)
        message = message[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + message[4:]
        self.icmp.sendto(message, (self.lab.RELAY4, 0))
        self.count("icmp")

    def relayed(self):
        """To relay ports, one's and nobody's."""
        flow = self.random.choice([flow for flow in self.media.flows if flow.relayed_family == 4])
        port = self.random.choice([flow.relayed[1], self.random.randrange(49152, 65536)])
        self.sock.sendto(b"let me in", (self.lab.RELAY4, port))
        self.count("relayed")


class Disturber(Actor):
    """Changes routes some five times a second for a while; takes the link down at the peer's end or the relay's.
    `windows`: when media may be lost, and for what."""

    pause_s = 5

    def __init__(self, lab, seed):
        super().__init__(lab, seed)
        self.windows = []
        self.turns = 0

    def act(self):
        self.turns += 1
        begin = time.monotonic()
        if self.turns % 2:
            cause, patience = "routes", 1
            self.routes()
        elif self.turns % 4:
            cause, patience = "link", 3
            self.link()
        else:
            cause, patience = "port", 4  # until its own address is no longer tentative
            self.port()
        self.windows.append((begin - 0.2, time.monotonic() + patience, cause))

    def routes(self):
        relay, lab = self.lab.relay, self.lab
        for _ in range(40):
            last = self.random.choice([2, 3])
            if self.random.random() < 0.5:
                relay.ip("route", "replace", lab.FAR4 + "/32", "via", f"10.201.2.{last}")
            else:
                relay.ip("-6", "route", "replace", lab.FAR6 + "/128", "via", f"fd20:2::{last}")
            other = f"10.{self.random.randrange(20, 200)}.0.0/16"
            relay.ip("route", self.random.choice(["replace", "del"]), other, *["via", lab.PEER4], check=False)
            self.count("routes", 2)
            if self.stopping.wait(0.2):
                break

    def link(self):
        peer, lab = self.lab.peer, self.lab
        peer.ip("link", "set", "eth0", "down")
        time.sleep(self.random.uniform(0.2, 1.5))
        peer.ip("link", "set", "eth0", "up")
        lab.dress_peer()
        self.count("links")

    def port(self):
        """The relay's own end, with all that hangs on it: routes, and addresses of IPv6."""
        relay, lab = self.lab.relay, self.lab
        relay.ip("link", "set", "south", "down")
        time.sleep(self.random.uniform(0.2, 1.5))
        relay.ip("link", "set", "south", "up")
        relay.ip("addr", "replace", lab.RELAY6 + "/64", "dev", "south", "nodad")
        lab.add_far_routes()
        self.count("ports")
