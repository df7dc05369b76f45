"""Clients that come by DTLS: coturn's own, OpenSSL's, GnuTLS's, and who only says that he is one."""

import os
import subprocess

import pytest

import turn_client as turn
from certificates import authority, make_certificate
from dtls_client import Dtls, DtlsClient
from lab import DRIVERS, wait_for
from test_streams import uclient_by_both_families
from turn_client import TurnClient


def listeners(lab, certificates, extra=""):
    text = extra
    for address in (lab.SERVER4, f"[{lab.SERVER6}]"):
        for port, transport in ((3478, "udp"), (3478, "dtls"), (5349, "dtls"), (5349, "tls"), (3478, "tcp")):
            text += f'[[listener]]\naddress = "{address}:{port}"\ntransport = "{transport}"\n'
    for chain, key in certificates:
        text += f'[[certificate]]\nchain = "{chain}"\nkey = "{key}"\n'
    return text


@pytest.fixture(scope="module", params=DRIVERS)
def relay(request, lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dtls")
    config = folder / "dtls.toml"
    certificates = [
        make_certificate(folder, "turn.example.org", lab.SERVER4),
        make_certificate(folder, "other.example.org"),
    ]
    config.write_text(listeners(lab, certificates, "[tcp_relay]\nenabled = true\n"))
    relay = lab.start_relay("--config", config, driver=request.param, listen=[])
    relay.authority = authority(folder)[0]
    peer = lab.peer.start("turnutils_peer", "-L", lab.PEER4, "-L", lab.PEER6, "-p", "3480")
    wait_for(lambda: ":3480" in lab.peer.exec("ss", "-Huln").stdout, 5, "turnutils_peer listening")
    yield relay
    assert relay.stop() == 0, relay.output()
    peer.kill()


@pytest.mark.parametrize(
    "how", [["-S"], ["-S", "-p", "5349"], ["-S", "-s"], ["-S", "-D"], ["-S", "-y"], []], ids=" ".join
)
def test_uclient(lab, relay, how):
    uclient_by_both_families(lab, *how)


def ok(answer):
    assert answer.error is None, answer.attributes
    return answer


def call(lab, **options):
    """A client with a channel to a peer, and its relayed address."""
    client = DtlsClient.connect(lab, **options)
    ok(client.allocate())
    peer = lab.peer.udp(lab.PEER4)
    ok(client.channel_bind(0x4000, *peer.getsockname()))
    return client, peer, say(client, peer)


def say(client, peer, text=b"hello"):
    client.channel_data(0x4000, text)
    data, relayed = peer.recvfrom(20000)
    assert data == text
    return relayed


@pytest.mark.sanitized
def test_media_of_any_length_and_one_port_for_udp_and_dtls(lab, relay):
    client, peer, relayed = call(lab)
    plain = TurnClient(lab.client.udp(lab.CLIENT4, 0), (lab.SERVER4, 3478))
    ok(plain.allocate())
    for size in (1, 1200, 1400, 1472, 3000):
        say(client, peer, b"x" * size)
        peer.sendto(b"y" * size, relayed)
        assert client.receive_any() == ("channel", 0x4000, b"y" * size)
    ok(plain.refresh())


@pytest.mark.sanitized
def test_who_comes_back_to_his_port_takes_his_own_place(lab, relay):
    before = relay.total("turnpike_stream_ends_total", reason="replaced")
    client, _, _ = call(lab)
    port = client.sock.sock.getsockname()[1]
    client.sock.sock.close()  # without a word
    again = DtlsClient.connect(lab, source=port)
    ok(again.allocate())  # the old association's allocation has ended with it
    assert relay.total("turnpike_stream_ends_total", reason="replaced") == before + 1


@pytest.mark.sanitized
def test_close_notify_ends_the_allocation(lab, relay):
    client, _, _ = call(lab)
    before = relay.total("turnpike_allocations")
    client.sock.shutdown()
    wait_for(lambda: relay.total("turnpike_allocations") == before - 1, 5, "the allocation's end")


def test_openssls_own_client(lab, relay):
    done = relay.total("turnpike_tls_handshakes_total", version="dtls1.2")
    process = lab.client.start(
        *("openssl", "s_client", "-dtls1_2", "-quiet", "-connect", f"{lab.SERVER4}:5349"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
    wait_for(lambda: relay.total("turnpike_tls_handshakes_total", version="dtls1.2") > done, 5, "a handshake")
    process.stdin.write(turn.build(turn.BINDING, turn.REQUEST, os.urandom(12), []))
    answer = turn.Message(os.read(process.stdout.fileno(), 2000))
    assert answer.address(turn.XOR_MAPPED_ADDRESS)[0] == lab.CLIENT4
    process.kill()


def hello_of_a_stranger(lab):
    """OpenSSL's first ClientHello, which has no cookie."""
    with lab.client.udp("127.0.0.1") as sink:
        Dtls(lab.client.udp("127.0.0.1"), sink.getsockname()).step()
        return sink.recv(2000)


def test_a_hello_without_a_cookie_changes_nothing(lab, relay):
    client, peer, relayed = call(lab)
    names = [
        f"turnpike_{name}_total"
        for name in ("worker_dtls_cookies_sent", "worker_dtls_cookies_shown", "stream_accepted")
    ]
    before = [relay.total(name) for name in names]
    hello = hello_of_a_stranger(lab)
    for _ in range(20):
        client.sock.sock.send(hello)
        say(client, peer)
        peer.sendto(b"back", relayed)
        assert client.receive_any() == ("channel", 0x4000, b"back")
    before[0] += 20
    wait_for(lambda: [relay.total(name) for name in names] == before, 5, "cookies sent, and none shown")
    ok(client.refresh())


def test_tcp_allocations_are_not_had_by_dtls(lab, relay):
    client = DtlsClient.connect(lab)
    assert client.allocate(transport=6).error == 400
    ok(client.allocate())
