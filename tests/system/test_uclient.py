"""coturn's own client, against every kernel driver and in each of its ways: nothing is lost."""

import re

import pytest

from lab import wait_for


@pytest.fixture(scope="module", params=["af_xdp", "af_packet"])
def relay(request, lab):
    relay = lab.start_relay(driver=request.param)
    peer = lab.peer.start("turnutils_peer", "-L", lab.PEER4, "-L", lab.PEER6, "-p", "3480")
    wait_for(lambda: ":3480" in lab.peer.exec("ss", "-Huln").stdout, 5, "turnutils_peer listening")
    yield relay
    assert relay.stop() == 0, relay.output()
    peer.kill()


def uclient(lab, *flags, server=None, peer=None, user=("alice", "secret")):
    command = [
        "turnutils_uclient",
        "-u",
        user[0],
        "-w",
        user[1],
        "-e",
        peer or lab.PEER4,
        "-r",
        "3480",
        "-n",
        "50",
        "-m",
        "2",
        "-l",
        "160",
        "-z",
        "5",
        *flags,
        server or lab.SERVER4,
    ]
    output = lab.client.exec(*command, check=False, timeout=60).stdout
    sent = re.findall(r"tot_send_msgs=(\d+)", output)
    received = re.findall(r"tot_recv_msgs=(\d+)", output)
    lost = re.search(r"Total lost packets (\d+)", output)
    assert sent and received and lost, output[-3000:]
    assert int(sent[-1]) > 0 and int(lost[1]) == 0, output[-3000:]
    assert int(sent[-1]) == int(received[-1]), output[-3000:]


def test_plain_udp(lab, relay):
    uclient(lab)


def test_send_indications(lab, relay):
    uclient(lab, "-s")


def test_client_to_client(lab, relay):
    uclient(lab, "-y")


def test_client_to_client_by_send(lab, relay):
    uclient(lab, "-y", "-s")


def test_random_disconnect(lab, relay):
    uclient(lab, "-B")


def test_dont_fragment(lab, relay):
    uclient(lab, "-g")


def test_ipv6_relayed_address(lab, relay):
    uclient(lab, "-x", peer=lab.PEER6)


def test_ipv6_client(lab, relay):
    uclient(lab, server=lab.SERVER6)


def test_ipv6_client_and_peer(lab, relay):
    uclient(lab, "-x", server=lab.SERVER6, peer=lab.PEER6)


def test_channel_padding(lab, relay):
    uclient(lab, "-D")


def test_stunclient(lab, relay):
    output = lab.client.exec("turnutils_stunclient", lab.SERVER4, check=False).stdout
    assert f"UDP reflexive addr: {lab.CLIENT4}" in output, output
