"""DTLS's handshakes: certificates that change, those that are long, and networks that lose."""

import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from certificates import KEY, authority, make_certificate, openssl
from dtls_client import DtlsClient
from lab import DRIVERS, wait_for
from test_dtls import listeners, ok


@pytest.fixture(params=DRIVERS)
def start(request, fresh_lab, tmp_path):
    """start(certificates, more): a relay of its own."""

    def start(certificates, more=""):
        config = tmp_path / "dtls.toml"
        config.write_text(listeners(fresh_lab, certificates, more))
        return fresh_lab.start_relay("--config", config, driver=request.param, listen=[])

    return start


def shown_to(lab, trusted, name="turn.example.org", server=None, more=()):
    """What OpenSSL's client says of a handshake that it verifies, and the certificate that it is shown."""
    address = f"[{server}]" if server else lab.SERVER4
    command = ["openssl", "s_client", "-dtls1_2", "-connect", f"{address}:5349", "-CAfile", trusted]
    command += ["-verify_return_error", "-verify_hostname", name, "-servername", name, "-mtu", "1200", *more]
    result = lab.client.exec("timeout", "60", *map(str, command), check=False, timeout=70)
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", result.stdout, re.DOTALL)
    return result.stdout, found and found[0]


def test_certificates_are_read_again(fresh_lab, start, tmp_path):
    lab = fresh_lab
    pair = make_certificate(tmp_path, "turn.example.org")
    trusted = authority(tmp_path)[0]
    relay = start([pair])
    before = DtlsClient.connect(lab)
    ok(before.allocate())
    output, first = shown_to(lab, trusted)
    assert first and "Verify return code: 0 (ok)" in output, output
    make_certificate(tmp_path, "turn.example.org")
    relay.process.send_signal(signal.SIGHUP)
    wait_for(lambda: shown_to(lab, trusted)[1] not in (None, first), 5, "another certificate")
    _, second = shown_to(lab, trusted)
    # One that is wrong changes nothing, and is told.
    pair[1].write_text("no key")
    relay.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "expected the private key" in relay.output(), 5, "a complaint")
    assert shown_to(lab, trusted)[1] == second
    ok(before.refresh())
    assert relay.stop() == 0, relay.output()


RSA = ["-newkey", "rsa:2048", "-nodes"]


def long_chain(folder, intermediates=4, key=KEY):
    """(chain, key) of a server whose issuer's issuer's … issuer is the authority: over 4 kB as it is sent."""
    issuer, issuer_key = authority(folder)
    chain = ""
    for number in range(intermediates):
        name = f"intermediate-{number}"
        its_key, request, extensions, made = (folder / f"{name}.{kind}" for kind in ("key", "csr", "ext", "pem"))
        extensions.write_text("basicConstraints=critical,CA:true\nkeyUsage=keyCertSign\n")
        openssl("req", *RSA, "-subj", f"/CN={name}", "-keyout", its_key, "-out", request)
        openssl(
            *("x509", "-req", "-in", request, "-CA", issuer, "-CAkey", issuer_key, "-CAcreateserial"),
            *("-days", 30, "-extfile", extensions, "-out", made),
        )
        chain = made.read_text() + chain
        issuer, issuer_key = made, its_key
    request, extensions, own, own_key = (folder / f"long.{kind}" for kind in ("csr", "ext", "own", "key"))
    extensions.write_text("subjectAltName=DNS:turn.example.org\nextendedKeyUsage=serverAuth\n")
    openssl("req", *key, "-subj", "/CN=turn.example.org", "-keyout", own_key, "-out", request)
    openssl(
        *("x509", "-req", "-in", request, "-CA", issuer, "-CAkey", issuer_key, "-CAcreateserial"),
        *("-days", 30, "-extfile", extensions, "-out", own),
    )
    whole = folder / "long.pem"
    whole.write_text(own.read_text() + chain)
    return whole, own_key


def lose(host, percent):
    """So many of all datagrams of the host's, each way, are lost at random, of which their senders hear nothing."""
    device = "device eth0 priority 0;"
    for words in (
        "add table netdev lossy",
        *(f"add chain netdev lossy {hook} {{ type filter hook {hook} {device} }}" for hook in ("ingress", "egress")),
        *(
            f"add rule netdev lossy {hook} udp {port} 5349 numgen random mod 100 < {percent} counter drop"
            for hook, port in (("ingress", "sport"), ("egress", "dport"))
        ),
    ):
        made = host.exec("nft", words, check=False)
        if made.returncode != 0:
            pytest.skip(f"this kernel loses nothing on demand: {made.stdout.strip()}")


def test_a_long_chain_comes_through(fresh_lab, start, tmp_path):
    lab = fresh_lab
    relay = start([long_chain(tmp_path)])
    for server in (None, lab.SERVER6):
        output, shown = shown_to(lab, authority(tmp_path)[0], server=server)
        assert shown and "Verify return code: 0 (ok)" in output, output
        assert int(re.search(r"SSL handshake has read (\d+) bytes", output)[1]) > 4096, "in more than one datagram"
    assert relay.total("turnpike_tls_handshakes_total", version="dtls1.2") == 2
    assert relay.stop() == 0, relay.output()


def test_a_long_chain_comes_through_where_a_fifth_is_lost(fresh_lab, start, tmp_path):
    lab = fresh_lab
    relay = start([long_chain(tmp_path)], "[streams]\nhandshake_s = 60\n")
    lose(lab.client, 20)
    with ThreadPoolExecutor(5) as pool:
        own = pool.submit(shown_to, lab, authority(tmp_path)[0])
        connecting = [pool.submit(DtlsClient.connect, lab, port=5349, patience=60) for _ in range(4)]
        output, shown = own.result()
        clients = [one.result() for one in connecting]
    lost = lab.client.exec("nft", "list", "table", "netdev", "lossy").stdout
    assert min(int(count) for count in re.findall(r"counter packets (\d+)", lost)) > 0, lost
    lab.client.exec("nft", "delete", "table", "netdev", "lossy")
    assert shown and "Verify return code: 0 (ok)" in output, output
    for client in clients:
        ok(client.allocate())
    assert relay.stop() == 0, relay.output()


def test_suites(fresh_lab, start, tmp_path):
    lab = fresh_lab
    relay = start([long_chain(tmp_path, 0, RSA)])

    def offer(suite):
        return shown_to(lab, authority(tmp_path)[0], more=["-cipher", f"{suite}:@SECLEVEL=0"])

    # RFC 7350 has everybody support these.
    for suite in ("DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"):
        output, shown = offer(suite)
        assert shown and f"Cipher is {suite}" in output and "Compression: NONE" in output, output
    # A key that is stolen later opens what was recorded; a MAC of yesterday.
    for suite in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA"):
        output, shown = offer(suite)
        assert not shown and "handshake failure" in output, output
    assert relay.stop() == 0, relay.output()
