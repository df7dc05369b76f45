"""A relay on two PCI NICs: relays, stops, is killed, starts again."""

import signal

import pytest

import nics
import turn_client as turn
from lab import wait_for
from pci_lab import DRIVER, MODELS, TAPS, loses_nothing
from test_owned_ports import relay_and_back
from test_uclient import uclient
from turn_client import TurnClient


@pytest.mark.core
@pytest.mark.parametrize("workers", [1, 2])
def test_relays_and_stops(owned_lab, tmp_path, workers):
    lab = owned_lab
    relay = lab.start_relay(directory=tmp_path, workers=workers)
    lab.start_peer()
    loses_nothing(lab.client, lab.SERVER4)
    loses_nothing(lab.client, lab.SERVER6)
    assert (
        f"UDP reflexive addr: {lab.CLIENT4}" in lab.client.exec("turnutils_stunclient", lab.SERVER4, check=False).stdout
    )
    uclient(lab, "-m", "4")
    uclient(lab, "-x", server=lab.SERVER6, peer=lab.PEER6)
    assert relay.total("turnpike_relayed_packets_total") > 0
    assert relay.stop() == 0, relay.output()


@pytest.mark.core
def test_killed_and_started_again(owned_lab, tmp_path):
    """The second time without hugepages, for which the NIC must be behind an IOMMU."""
    lab = owned_lab
    relay = lab.start_relay(directory=tmp_path)
    relay_and_back(lab, lab.SERVER4, lab.CLIENT4, lab.PEER4)
    relay.stop(signal.SIGKILL)
    lab.start_relay(directory=tmp_path, top="hugepages = false" if DRIVER == "vfio-pci" else "")
    relay_and_back(lab, lab.SERVER4, lab.CLIENT4, lab.PEER4)


def test_two_workers_share_what_arrives(owned_lab, model, tmp_path):
    """From many ports: all answered, and by both workers where the NIC spreads UDP over its queues; else it is said that it doesn't."""
    lab = owned_lab
    relay = lab.start_relay(directory=tmp_path, workers=2)
    loses_nothing(lab.client, lab.SERVER4)
    for _ in range(32):
        one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
        assert one.request(turn.BINDING).message_class == turn.SUCCESS
        one.sock.close()
    received = [relay.total("turnpike_worker_received_packets_total", worker=worker) for worker in (0, 1)]
    if nics.queues(model, nics.RELAY, TAPS) > 1:
        assert min(received) >= 6, received
    elif model not in nics.CLAIM_TO_SHARE:
        wait_for(lambda: "doesn't share UDP out among queues" in relay.output(), 5, "the warning")


@pytest.mark.parametrize(
    "wrong, why",
    [
        ("0000:00:1c.7", "nothing at that address"),
        (nics.address(MODELS[0], nics.NORTH, nics.HOST), "bound to virtio-pci"),
    ],
)
def test_wrong_devices_are_told(owned_lab, model, tmp_path, wrong, why):
    """One that isn't there, and one that the kernel has."""
    relay = owned_lab.start_relay(
        directory=tmp_path, devices=(wrong, nics.address(model, nics.SOUTH)), expect_ready=False
    )
    assert relay.process.wait(timeout=60) != 0
    assert f"{wrong}: DPDK has no such device" in relay.output() and why in relay.output()
