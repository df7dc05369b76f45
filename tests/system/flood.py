"""Sends one datagram again and again, as fast or as slowly as told: bounded in number and in time.

    flood.py SOURCE PORT SERVER PORT PER_SECOND MOST SECONDS HEX

Prints how many it has sent. A thousand a second or a hundred thousand: the kernel is given 32 at a time.
The source may be any address."""

import ctypes
import socket
import sys
import time

BATCH = 32
IP_TRANSPARENT = 19


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class Header(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("iov", ctypes.POINTER(IoVec)),
        ("iov_size", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_size_t),
        ("sent", ctypes.c_size_t),
    ]  # an int and its padding, each


def main(source, source_port, server, server_port, per_second, most, seconds, message):
    data = bytes.fromhex(message)
    iov = IoVec(data, len(data))
    headers = (Header * BATCH)(*(Header(None, 0, ctypes.pointer(iov), 1, None, 0, 0, 0) for _ in range(BATCH)))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    sock.bind((source, int(source_port)))
    sock.connect((server, int(server_port)))
    libc = ctypes.CDLL(None)
    sent, begin = 0, time.monotonic()
    while sent < int(most) and (passed := time.monotonic() - begin) < float(seconds):
        if sent > passed * int(per_second):
            time.sleep(0.0005)
            continue
        sent += max(0, libc.sendmmsg(sock.fileno(), headers, BATCH, 0))
    print(sent)


if __name__ == "__main__":
    main(*sys.argv[1:])
