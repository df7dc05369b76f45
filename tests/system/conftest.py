"""What tests of the whole program are given: a network of their own, with or without an owned port."""

import pytest

from lab import Lab, OwnedLab


@pytest.fixture(scope="module")
def lab():
    """One network for the tests of a module."""
    network = Lab()
    yield network
    network.close()


@pytest.fixture
def fresh_lab():
    """A network of its own for a test that disturbs it."""
    network = Lab()
    yield network
    network.close()


@pytest.fixture
def owned_lab():
    """A network whose relay owns its ports."""
    network = OwnedLab()
    yield network
    network.close()
