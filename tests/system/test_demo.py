"""deploy/demo in whole browsers, by clicks: two people see and hear each other through this node, and go on doing so."""

import contextlib

import pytest

from demo import Demo

PAIRS = [("chromium", "firefox"), ("chromium", "chromium"), ("firefox", "firefox")]


@pytest.fixture(scope="module")
def demo(lab, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        one = Demo(lab, tmp_path_factory.mktemp("demo"), stack)
        one.start_relay()
        one.start_server()
        yield one


@pytest.mark.parametrize("way", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_a_call_through_the_relay(demo, names, way):
    with demo.call(names, way) as pages:
        for report in demo.reports(pages):
            assert report["types"] == ["relay", "relay"] and report["relayProtocol"] == way, report
