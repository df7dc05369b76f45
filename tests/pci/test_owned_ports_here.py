"""All that holds for ports the relay owns holds on PCI NICs."""

from test_owned_ports import *  # noqa: F403 (its tests, with this directory's owned_lab)
