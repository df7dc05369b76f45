"""What tests of the whole program are given: a network of their own, with or without an owned port."""

import os

import pytest

from lab import Lab, OwnedLab


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "long: minutes long, so only where asked for, by TURNPIKE_LONG=1, and then alone"
    )


def pytest_collection_modifyitems(config, items):
    asked_for = bool(os.environ.get("TURNPIKE_LONG"))
    others = [one for one in items if bool(one.get_closest_marker("long")) != asked_for]
    config.hook.pytest_deselected(items=others)
    items[:] = [one for one in items if one not in others]


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
