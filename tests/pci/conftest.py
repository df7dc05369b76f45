"""In the guest: each test on each model of NIC that the guest has."""

import pytest

import pci_lab
from pci_lab import PciLab


def pytest_configure(config):
    config.addinivalue_line("markers", "core: runs with `tests/run`; the others with `tests/run pci` alone")


@pytest.fixture(scope="module", params=pci_lab.MODELS)
def model(request):
    return request.param


@pytest.fixture
def owned_lab(model):
    """A network whose relay owns its ports."""
    network = PciLab(model)
    yield network
    network.close()
