"""The media server Janus as a call's far end: a browser reaches it by the relay alone, and it has a relay for itself too."""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import threading
import time
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from browser import CALL, call
from janus import janus
from lab import wait_for

SECRET = "shared with the web server"
FAR_END = CALL.with_name("browser_far_end.html")
# A browser's start takes seconds, or the most of a minute on a host that is shared.
LONGEST_S = 110


@pytest.fixture(scope="module")
def relay(lab):
    listen = [f"{lab.SERVER4}:3478", f"{lab.RELAY4}:3478", f"{lab.RELAY4}:3478/tcp"]
    relay = lab.start_relay("--rest-secret", SECRET, listen=listen)
    yield relay
    assert relay.stop() == 0, relay.output()


def rest_credentials(name, lifetime_s=600):
    """What a web server hands out that has the relay's secret: (user, password)."""
    user = f"{int(time.time()) + lifetime_s}:{name}"
    return user, base64.b64encode(hmac.new(SECRET.encode(), user.encode(), hashlib.sha1).digest()).decode()


def talk(lab, server, relayed_only=False, seconds=2):
    """A call of a browser with `server`: what the page and Janus say at the end. Fails unless media goes there and back."""
    user, password = rest_credentials("browser")
    query = urlencode({"turn": f"turn:{lab.SERVER4}:3478", "user": user, "password": password})

    def answer(offer):
        return server.answer(offer, relayed_only)

    with call(lab.client, "chromium", query, content=FAR_END, answer=answer, longest_s=LONGEST_S) as page:

        def seen_and_heard():
            assert "error" not in page.report and page.report.get("state") != "failed"
            return page.report.get("frames", 0) >= 10 and page.report["audio"] >= 50

        try:
            wait_for(seen_and_heard, LONGEST_S - 30, "audio and video that came back")
            frames, until = page.report["frames"], time.monotonic() + seconds
            wait_for(lambda: time.monotonic() > until and page.report["frames"] > frames, 15, "a call that goes on")
            return page.report, server.info()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{page.report}\n{page.output()}\n{server.output()[-3000:]}") from None


def kinds(janus_says):
    """The kinds of Janus' own candidates, and of the two of the pair in use."""
    ice = janus_says["webrtc"]["ice"]
    own = {candidate.split(" typ ")[1].split()[0] for candidate in ice["local-candidates"]}
    ends = [end.split("[")[1].split(",")[0] for end in ice["selected-pair"].split(" <-> ")]
    return own, ends


def relayed(relay):
    """Packets of clients: what two clients of one relay send each other comes from no peer."""
    return {way: relay.total("turnpike_relayed_packets_total", direction=way) for way in ("client_in", "client_out")}


def refused(relay):
    return relay.total("turnpike_requests_total", result="403")


@contextlib.contextmanager
def another_address(host, address):
    host.ip("addr", "add", address, "dev", "eth0")
    try:
        yield
    finally:
        host.ip("addr", "del", address, "dev", "eth0")


def test_one_private_address_of_a_media_server_is_refused_and_the_call_stands(lab, relay):
    before, refusals = relayed(relay), refused(relay)
    with another_address(lab.peer, "192.168.77.7/32"), janus(lab.peer) as server:
        page, says = talk(lab, server)
    assert any("192.168.77.7" in candidate for candidate in says["webrtc"]["ice"]["local-candidates"])
    assert refused(relay) > refusals
    assert page["pair"] == ["relay", "host"] and page["address"] == lab.PEER4
    media_went_through(relay, before)


def test_a_media_server_on_the_relays_own_host(lab, relay):
    before = relayed(relay)
    with janus(lab.relay, 'ice_enforce_list = "south"') as server:
        page, says = talk(lab, server)
    assert page["pair"] == ["relay", "host"] and page["address"] == lab.RELAY4
    assert kinds(says) == ({"host"}, ["host", "relay"])
    media_went_through(relay, before)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_media_server_with_a_relay_and_a_password(lab, relay, transport):
    nat = f"""
        turn_server = "{lab.RELAY4}"
        turn_port = 3478
        turn_type = "{transport}"
        turn_user = "{relay.USER}"
        turn_pwd = "{relay.PASSWORD}"
        allow_force_relay = true"""
    has_a_relay_of_its_own(lab, relay, nat, transport)


def test_a_media_server_that_asks_a_web_server_for_its_relay(lab, relay):
    with rest_api(lab.peer, f"turn:{lab.RELAY4}:3478?transport=udp") as (port, queries):
        nat = f"""
            turn_rest_api = "http://127.0.0.1:{port}/turn"
            turn_rest_api_key = "key of the API"
            turn_rest_api_method = "GET"
            allow_force_relay = true"""
        has_a_relay_of_its_own(lab, relay, nat, "udp")
    assert queries[0]["service"] == ["turn"] and queries[0]["key"] == ["key of the API"]


def has_a_relay_of_its_own(lab, relay, nat, transport):
    """A call in which Janus is told to have no candidates but its relay's."""
    before, granted = relayed(relay), allocated(relay)
    with janus(lab.peer, nat) as server:
        page, says = talk(lab, server, relayed_only=True)
        assert allocated(relay) >= granted + 2  # the browser's, and its own
        assert relay.total("turnpike_client_allocations", transport="tcp") == (1 if transport == "tcp" else 0)
    assert page["pair"] == ["relay", "relay"] and page["address"] == lab.RELAY4
    assert kinds(says) == ({"relay"}, ["relay", "relay"])
    media_went_through(relay, before)


def allocated(relay):
    return relay.total("turnpike_requests_total", method="allocate", result="success")


def media_went_through(relay, before):
    for way, packets in relayed(relay).items():
        assert packets - before[way] >= 50, way


@contextlib.contextmanager
def rest_api(host, uri):
    """A web server on `host` that hands out credentials for `uri`: gives its port, and what it was asked."""
    queries = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            queries.append(parse_qs(urlsplit(self.path).query))
            user, password = rest_credentials("janus")
            body = json.dumps({"username": user, "password": password, "ttl": 600, "uris": [uri]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with host.inside():
        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, queries
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
