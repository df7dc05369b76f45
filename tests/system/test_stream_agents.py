"""Whole ICE agents that come by TCP and TLS: aioice and browsers, who meet through the relay alone."""

import contextlib
import os
from urllib.parse import urlencode

import pytest

from browser import BROWSERS, call
from lab import wait_for
from test_browsers import both_hear_and_see
from test_ice import Agent, meet
from test_streams import relay  # noqa: F401 (the fixture is the same)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_aioice_agents_that_meet_through_the_relay_alone(lab, relay, transport):
    with trusting(relay):
        meet(
            Agent(lab.client, "controlling", lab.SERVER4, "RELAY", "--transport", transport),
            Agent(lab.peer, "controlled", lab.SERVER4, "RELAY", "--transport", transport),
        )


@contextlib.contextmanager
def trusting(relay):
    """Programs that are started now trust who issued it."""
    os.environ["SSL_CERT_FILE"] = str(relay.authority)
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("name", BROWSERS)
def test_browsers_call_through_the_relay_alone(lab, relay, name, transport):
    lab.client.know("turn.example.org", lab.SERVER4)  # Firefox wants a name for TLS
    url = f"turn{'s' * (transport == 'tls')}:turn.example.org:{5349 if transport == 'tls' else 3478}?transport=tcp"
    query = urlencode({"turn": url, "user": relay.USER, "password": relay.PASSWORD})
    before = relay.total("turnpike_stream_messages_total")
    with call(lab.client, name, query, relay.authority) as page:
        try:
            wait_for(lambda: page.report.get("a", {}).get("state") == "connected", 60, "a connection")
            wait_for(lambda: both_hear_and_see(page), 25, "a call that goes on")
            for end in page.report.values():
                assert end["state"] == "connected" and end["pair"] == ["relay", "relay"]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{page.report}\n{page.output()}\n{relay.output()}") from None
    assert relay.total("turnpike_stream_messages_total") > before + 200
