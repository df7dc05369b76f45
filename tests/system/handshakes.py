"""Begins DTLS again and again, bounded in time.

    handshakes.py SOURCE SERVER PORT SECONDS whole|half

whole: shakes hands and says goodbye; half: is gone once its hello has had a cookie. Prints how often."""

import socket
import sys
import time

from dtls_client import Dtls


def main(source, server, port, seconds, how):
    done, begin = 0, time.monotonic()
    while time.monotonic() - begin < float(seconds):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((source, 0))
            client = Dtls(sock, (server, int(port)))
            if how == "whole":
                client.connect().shutdown()
            else:
                client.step()
                client.wait(1)
                client.step()
            done += 1
    print(done)


if __name__ == "__main__":
    main(*sys.argv[1:])
