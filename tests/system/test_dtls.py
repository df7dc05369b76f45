"""Clients that come by DTLS: coturn's own, OpenSSL's, GnuTLS's, and who only says that he is one."""

import contextlib
import re

import pytest

from certificates import authority, make_certificate
from lab import wait_for
from test_streams import uclient


def listeners(lab, certificates, extra=""):
    text = extra
    for address in (lab.SERVER4, f"[{lab.SERVER6}]"):
        for port, transport in ((3478, "udp"), (3478, "dtls"), (5349, "dtls"), (5349, "tls"), (3478, "tcp")):
            text += f'[[listener]]\naddress = "{address}:{port}"\ntransport = "{transport}"\n'
    for chain, key in certificates:
        text += f'[[certificate]]\nchain = "{chain}"\nkey = "{key}"\n'
    return text


@pytest.fixture(scope="module", params=["af_xdp", "af_packet"])
def relay(request, lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dtls")
    config = folder / "dtls.toml"
    certificates = [
        make_certificate(folder, "turn.example.org", lab.SERVER4),
        make_certificate(folder, "other.example.org"),
    ]
    config.write_text(listeners(lab, certificates))
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
    uclient(lab, *how)
    uclient(lab, *how, "-x", server=lab.SERVER6, peer=lab.PEER6)
