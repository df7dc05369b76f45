"""A TURN client by DTLS: OpenSSL's own library, over a socket of Python's, one call at a time."""

import ctypes
import select
import socket
import time

from turn_client import TurnClient

SSL = ctypes.CDLL("libssl.so.3")
CRYPTO = ctypes.CDLL("libcrypto.so.3")
for library, names in ((SSL, "DTLS_client_method SSL_CTX_new SSL_new"), (CRYPTO, "BIO_new_dgram BIO_ADDR_new")):
    for name in names.split():
        getattr(library, name).restype = ctypes.c_void_p

WANT_READ, ZERO_RETURN = 2, 6
SET_CONNECTED, GET_TIMEOUT, HANDLE_TIMEOUT, SET_MTU = 32, 73, 74, 17
NO_QUERY_MTU = 1 << 12


def pointer(value):
    return ctypes.c_void_p(value)


class Dtls:
    """A socket whose datagrams are hidden."""

    CONTEXT = pointer(SSL.SSL_CTX_new(pointer(SSL.DTLS_client_method())))

    def __init__(self, sock, server):
        self.sock = sock
        sock.connect(server)
        sock.setblocking(False)
        family = sock.family
        peer = pointer(CRYPTO.BIO_ADDR_new())
        where = socket.inet_pton(family, server[0])
        CRYPTO.BIO_ADDR_rawmake(
            peer, int(family), where, ctypes.c_size_t(len(where)), ctypes.c_ushort(socket.htons(server[1]))
        )
        bio = pointer(CRYPTO.BIO_new_dgram(sock.fileno(), 0))
        CRYPTO.BIO_ctrl(bio, SET_CONNECTED, ctypes.c_long(0), peer)
        self.ssl = pointer(SSL.SSL_new(self.CONTEXT))
        SSL.SSL_set_bio(self.ssl, bio, bio)
        SSL.SSL_set_connect_state(self.ssl)
        SSL.SSL_set_options(self.ssl, ctypes.c_uint64(NO_QUERY_MTU))
        SSL.SSL_ctrl(self.ssl, SET_MTU, ctypes.c_long(1200), None)
        self.timeout = 5

    def __del__(self):
        SSL.SSL_free(self.ssl)

    def until(self, call):
        """What `call` returns once it is done; what is lost meanwhile is sent again."""
        deadline = time.monotonic() + self.timeout
        while True:
            CRYPTO.ERR_clear_error()
            result = call()
            if result > 0:
                return result
            error = SSL.SSL_get_error(self.ssl, result)
            if error == ZERO_RETURN:
                return 0
            assert error == WANT_READ, f"DTLS has failed: {error}"
            left = deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout
            select.select([self.sock], [], [], min(left, 0.1))
            SSL.SSL_ctrl(self.ssl, HANDLE_TIMEOUT, ctypes.c_long(0), None)

    def connect(self):
        self.until(lambda: SSL.SSL_connect(self.ssl))
        return self

    def step(self):
        """As far as it gets at once."""
        CRYPTO.ERR_clear_error()
        return SSL.SSL_connect(self.ssl) == 1

    def sendto(self, data, _server):
        SSL.SSL_write(self.ssl, data, len(data))

    def recv(self, size):
        room = ctypes.create_string_buffer(size)
        got = self.until(lambda: SSL.SSL_read(self.ssl, room, size))
        return room.raw[:got]

    def settimeout(self, seconds):
        self.timeout = seconds

    def shutdown(self):
        SSL.SSL_shutdown(self.ssl)


class DtlsClient(TurnClient):
    @classmethod
    def connect(cls, lab, port=3478, server=None, source=0, **options):
        server = server or lab.SERVER4
        sock = lab.client.udp(lab.CLIENT6 if ":" in server else lab.CLIENT4, source)
        return cls(Dtls(sock, (server, port)).connect(), None, **options)
