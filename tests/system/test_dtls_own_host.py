"""Clients that come by DTLS from the relay's own host, and from a container on it."""

import pytest

from certificates import make_certificate
from dtls_client import DtlsClient
from test_dtls import listeners, ok, say
from test_own_host import add_container


@pytest.fixture(scope="module")
def house(lab):
    add_container(lab)


@pytest.fixture(scope="module", params=["af_xdp", "af_packet"])
def relay(request, lab, house, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dtls-own-host")
    config = folder / "dtls.toml"
    config.write_text(listeners(lab, [make_certificate(folder, "turn.example.org", lab.SERVER4)]))
    relay = lab.start_relay("--config", config, driver=request.param, listen=[])
    yield relay
    assert relay.stop() == 0, relay.output()


@pytest.mark.parametrize("port", [3478, 5349])
@pytest.mark.parametrize("where,address", [("relay", "10.201.1.1"), ("relay", "fd20:1::1"), ("box", "10.201.99.2")])
def test_clients_here_get_in(lab, relay, where, address, port):
    server = lab.SERVER6 if ":" in address else lab.SERVER4
    client = DtlsClient.connect(lab, port=port, server=server, host=getattr(lab, where), address=address)
    ok(client.allocate())
    peer = lab.peer.udp(lab.PEER4)
    ok(client.channel_bind(0x4000, *peer.getsockname()))
    for size in (1, 160, 1200, 1400):
        relayed = say(client, peer, b"x" * size)
        peer.sendto(b"y" * size, relayed)
        assert client.receive_any() == ("channel", 0x4000, b"y" * size)
    ok(client.refresh(0))
    client.sock.shutdown()
