"""HTTPS and TURN on one port 443: Debian's nginx with the files of deploy/nginx before the relay, on the relay's host."""

import contextlib
import http.client
import re
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

import turn_client as turn
from certificates import authority, make_certificate
from lab import PATIENCE_S, wait_for
from test_streams import Streaming, is_closed, ok

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "nginx"
MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
PAGE = b"the web site"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nginx")


def comments(text):
    """Lines of a file's comment that are indented: the relay's own configuration."""
    return "\n".join(re.findall(r"^#   (.*)$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def relay(lab, folder):
    chain, key = make_certificate(folder, "turn.example.org")
    config = folder / "relay.toml"
    config.write_text(
        f'[[listener]]\naddress = "{lab.SERVER4}:3478"\n'
        + comments((DEPLOY / "stream-443.conf").read_text())
        + f'\n[[certificate]]\nchain = "{chain}"\nkey = "{key}"\n'
    )
    relay = lab.start_relay("--config", config, listen=[])
    yield relay
    assert relay.stop() == 0, relay.output()


@pytest.fixture(scope="module")
def nginx(lab, relay, folder):
    """It serves, in the relay's namespace; gives the file of what the web site was asked."""
    assert MODULE.exists(), "libnginx-mod-stream is not installed: deploy/install-deps --tests"
    chain, key = make_certificate(folder, "www.example.org")
    site = (DEPLOY / "site-443.conf").read_text()
    for there, here in (
        ("/etc/letsencrypt/live/www.example.org/fullchain.pem", chain),
        ("/etc/letsencrypt/live/www.example.org/privkey.pem", key),
        ("/var/www/html", folder),
    ):
        assert there in site
        site = site.replace(there, str(here))
    (folder / "site.conf").write_text(site)
    (folder / "index.html").write_bytes(PAGE)
    (folder / "nginx.conf").write_text(
        f"load_module {MODULE};\ndaemon off;\nmaster_process off;\npid {folder}/pid;\n"
        f"error_log {folder}/error.log info;\nevents {{}}\ninclude {DEPLOY}/stream-443.conf;\n"
        f"http {{\naccess_log {folder}/access.log;\ninclude {folder}/site.conf;\n}}\n"
    )
    server = lab.relay.start(
        "nginx", "-e", folder / "error.log", "-c", folder / "nginx.conf", stderr=subprocess.DEVNULL
    )

    def listening():
        assert server.poll() is None, (folder / "error.log").read_text()
        return ":443" in lab.relay.exec("ss", "-Htln", "sport = :443").stdout

    wait_for(listening, 20, "nginx listening")
    yield folder / "access.log"
    server.terminate()
    server.wait(timeout=20)


def by_tls(lab, folder, name, protocols, family=socket.AF_INET):
    """A connection to port 443 that asks for `name`, or for none, and trusts who was asked."""
    address = lab.SERVER6 if family == socket.AF_INET6 else lab.SERVER4
    with lab.client.inside():
        sock = socket.create_connection((address, 443), timeout=max(10, PATIENCE_S))
    context = ssl.create_default_context(cafile=authority(folder)[0])
    context.check_hostname = name is not None
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(sock, server_hostname=name)


def names(sock):
    return [name for kind, name in sock.getpeercert()["subjectAltName"] if kind == "DNS"]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(
    "name,protocols", [("www.example.org", ["http/1.1"]), (None, ["http/1.1"]), ("www.example.org", [])]
)
def test_the_web_site_is_there_and_knows_its_clients(lab, nginx, folder, name, protocols, family):
    before = len(nginx.read_text().splitlines()) if nginx.exists() else 0
    sock = by_tls(lab, folder, name, protocols, family)
    assert names(sock) == ["www.example.org"]
    connection = http.client.HTTPConnection("www.example.org")
    connection.sock = sock
    with contextlib.closing(connection):
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, PAGE)
    wait_for(lambda: len(nginx.read_text().splitlines()) > before, 5, "a line of the web site's log")
    client = lab.CLIENT6 if family == socket.AF_INET6 else lab.CLIENT4
    assert nginx.read_text().splitlines()[before].split()[0] == client


# The name asked for and the protocols offered; None: no TLS.
CLIENTS = {
    "by its name": ("turn.example.org", []),
    "by its name and protocol": ("turn.example.org", ["stun.turn"]),
    "by its protocol alone": (None, ["stun.turn"]),
    "by neither": (None, []),
    "without TLS": None,
}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("how", CLIENTS)
def test_the_relay_is_there_and_knows_its_clients(lab, nginx, folder, how, family):
    if CLIENTS[how] is None:
        with lab.client.inside():
            sock = socket.create_connection(
                (lab.SERVER6 if family == socket.AF_INET6 else lab.SERVER4, 443), timeout=10
            )
    else:
        sock = by_tls(lab, folder, *CLIENTS[how], family)
        assert names(sock) == ["turn.example.org"]
    sock.settimeout(max(10, PATIENCE_S))
    client = Streaming(sock, None)
    allocated = ok(client.allocate())
    assert allocated.address(turn.XOR_MAPPED_ADDRESS) == sock.getsockname()[:2]
    with lab.peer.udp(lab.PEER4) as peer:
        ok(client.channel_bind(0x4000, *peer.getsockname()))
        client.channel_data(0x4000, b"there")
        data, relayed = peer.recvfrom(100)
        assert data == b"there"
        peer.sendto(b"and back", relayed)
        assert client.receive_any() == ("channel", 0x4000, b"and back")
    ok(client.refresh(0))
    sock.close()


def test_who_says_himself_whose_he_is_isnt_heard(lab, relay, nginx):
    with lab.client.inside():
        sock = socket.create_connection((lab.SERVER4, 443), timeout=max(10, PATIENCE_S))
    client = Streaming(sock, None)
    sock.sendall(f"PROXY TCP4 198.18.0.7 {lab.SERVER4} 4321 443\r\n".encode())
    client.send_raw(turn.build(turn.BINDING, turn.REQUEST, bytes(12), []))
    assert is_closed(client)
    assert relay.total("turnpike_stream_ends_total", reason="not_stun") == 1
