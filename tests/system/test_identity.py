"""Identity rules: who may allocate, by each attribute that a client can say, and how much."""

import contextlib

import pytest

import turn_client as turn
from lab import BINARY, run, wait_for
from turn_client import TurnClient

ORIGIN = 0x802F
RULES = """
[payload]
cache = ""
[[identity.rule]]
name = "friends"
attribute = "software"
pattern = "^friend"
action = "allow"
[[identity.rule]]
name = "bots"
attribute = "username"
pattern = "^bot"
action = "deny"
[[identity.rule]]
name = "evil_pages"
attribute = "origin"
pattern = "^https://evil\\\\.example$"
action = "deny"
[[identity.rule]]
name = "old_clients"
attribute = "software"
pattern = "oldclient"
caseless = true
action = "deny"
[[identity.rule]]
name = "gateways"
attribute = "username"
pattern = "^gateway"
action = "class"
class = "few"
[[identity.rule]]
name = "other_realm"
attribute = "realm"
pattern = "^example\\\\.net$"
action = "deny"
[[identity.class]]
name = "few"
allocations_per_user = 3
[[other_realm]]
name = "example.net"
users = [{ name = "alice", password = "secret" }]
"""
USERS = ("bot", "gateway-1", "gateway-2")


@pytest.fixture(scope="module", params=[1, 3], ids=["one shard", "three shards"])
def relay(request, lab, tmp_path_factory):
    config = tmp_path_factory.mktemp("identity") / "turnpike.toml"
    listeners = "".join(
        f'[[listener]]\naddress = "{lab.SERVER4}:{port}"\n{realm}\n'
        for port, realm in ((3478, ""), (3479, 'realm = "example.net"'))
    )
    config.write_text(f"shards = {request.param}\n{listeners}{RULES}")
    flags = [flag for user in USERS for flag in ("--user", f"{user}:secret")]
    relay = lab.start_relay("--config", config, *flags, listen=[])
    for host in (lab.CLIENT4, lab.PEER4):
        wait_for(lambda: lab.relay.exec("ping", "-c1", "-W1", host, check=False).returncode == 0, 10, f"{host} reached")
    yield relay
    assert relay.stop() == 0, relay.output()


@pytest.fixture
def client(lab):
    """Makes clients, each at a port of its own; what they have is given back."""
    with contextlib.ExitStack() as stack:

        def make(username="alice", port=3478, **options):
            sock = stack.enter_context(lab.client.udp(lab.CLIENT4))
            one = TurnClient(sock, (lab.SERVER4, port), username=username, **options)
            stack.callback(lambda: one.nonce and one.refresh(0))
            return one

        yield make


def moved(relay, rule, act):
    """What `act` gave, and by how much it moved the rule's count."""
    before = relay.total("turnpike_identity_rule_requests_total", rule=rule)
    result = act()
    return result, relay.total("turnpike_identity_rule_requests_total", rule=rule) - before


@pytest.mark.parametrize(
    "rule, said, options",
    [
        ("bots", [], {"username": "bot"}),
        ("bots", [], {"username": "bot", "userhash": True, "sha256": True}),
        ("evil_pages", [(ORIGIN, b"https://evil.example")], {}),
        ("old_clients", [(turn.SOFTWARE, b"An OldClient 1.0")], {}),
        ("other_realm", [], {"port": 3479, "realm": "example.net"}),
    ],
)
def test_each_attribute_can_be_refused(relay, client, rule, said, options):
    one = client(**options)
    answer, count = moved(relay, rule, lambda: one.allocate(*said))
    assert answer.error == 403
    assert answer.get(turn.ERROR_CODE)[4:] == b"Identity Refused"
    assert answer.integrity_holds(one.key, one.sha256)
    assert count == 1
    assert one.refresh().error == 437, "it has nothing"


@pytest.mark.parametrize(
    "said",
    [[], [(ORIGIN, b"https://evil.example.org")], [(turn.SOFTWARE, b"A client")]],
    ids=["none", "origin", "name"],
)
def test_whom_no_rule_matches_is_let_in(relay, client, said):
    assert client().allocate(*said).message_class == turn.SUCCESS


def test_the_first_rule_of_the_file_counts(relay, client):
    said = [(turn.SOFTWARE, b"friend of oldclient"), (ORIGIN, b"https://evil.example")]
    answer, count = moved(relay, "friends", lambda: client("bot").allocate(*said))
    assert answer.message_class == turn.SUCCESS
    assert count == 1


def test_what_stands_after_the_integrity_is_not_said(relay, client):
    one = client("bot")
    assert one.allocate().error == 403
    raw = one.last_request
    forged = turn.attribute(turn.SOFTWARE, b"friend")
    length = int.from_bytes(raw[2:4], "big") - 8 + len(forged)
    # The fingerprint of what it was goes; the integrity still holds for what stands before it.
    answer = one.exchange(raw[:2] + length.to_bytes(2, "big") + raw[4:-8] + forged)
    assert answer.error == 403


def test_a_wrong_password_meets_no_rule(relay, client):
    answer, count = moved(relay, "bots", lambda: client("bot", password="wrong").allocate())
    assert answer.error == 401
    assert count == 0


def test_a_class_is_a_users_own_quota_to_the_last(relay, client):
    gateway = [client("gateway-1") for _ in range(4)]
    answers, count = moved(relay, "gateways", lambda: [one.allocate() for one in gateway])
    assert [answer.error for answer in answers] == [None, None, None, 486]
    assert count == 4
    assert client("gateway-2").allocate().error is None, "another user of the class"
    for one in [client() for _ in range(5)]:
        assert one.allocate().error is None, "a user of no class"
    assert gateway[0].refresh(0).error is None
    assert gateway[3].allocate().error is None


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("a(b", ":3: identity.rule[0].pattern: Missing close parenthesis for group started at index 1"),
        ("a*", ":3: identity.rule[0].pattern: matches everything"),
    ],
)
def test_a_wrong_rule_is_told_with_its_place(tmp_path, pattern, expected):
    config = tmp_path / "wrong.toml"
    rule = f'name = "x"\nattribute = "realm"\naction = "deny"\npattern = "{pattern}"\n'
    config.write_text(f'realm = "r"\nauth.rest_secrets = ["s"]\n[[identity.rule]]\n{rule}')
    result = run(BINARY, "--config", config, "--port", "af_packet:lo", check=False)
    assert result.returncode == 2
    assert f"{config}{expected}" in result.stdout
