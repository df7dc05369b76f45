"""turnpike-natcheck names each NAT through turnpike itself, whose two addresses answer for one another."""

import json

import pytest

from lab import DRIVERS
from nat_lab import BEHAVIOUR, KINDS, NatLab, prove
from test_natcheck import LIFETIME_S, NAMES, begin, check, end, only_path, pytestmark  # noqa: F401


@pytest.fixture(scope="module", params=DRIVERS)
def nats(request, tmp_path_factory):
    lab = NatLab()
    try:
        config = tmp_path_factory.mktemp("relay") / "relay.toml"
        config.write_text(f"[nat_discovery]\naddresses = {json.dumps([*lab.SERVER4, *lab.SERVER6])}\n")
        lab.start_relay("--config", config, driver=request.param)
        for kind in KINDS:
            lab.add_site(kind, lifetime_s=LIFETIME_S)
        yield lab
    finally:
        lab.close()


def test_each_nat_and_its_lifetime_are_named_through_turnpike(nats):
    for site in nats.sites:
        prove(nats, site)
    words = ("--user", "alice", "--password", "secret", "--turn", "udp", "--lifetime", 30, "--json")
    running = {site.kind: begin(site, nats.SERVER4[0], *words) for site in nats.sites}
    for kind, process in running.items():
        path = only_path(json.loads(end(process, 100)[1]))
        nat = path["nat"]
        mapping, filtering = BEHAVIOUR[kind]
        assert nat["name"] == NAMES[kind]
        assert (nat["mapping"], nat["filtering"]) == (mapping or "endpoint-independent", filtering)
        assert nat["fragments_out"] and nat["fragments_in"]
        assert path["turn"][0]["works"], path["turn"]
        if kind != "none":
            assert abs(nat["lifetime"]["seconds"] - LIFETIME_S) <= LIFETIME_S / 10, (kind, nat["lifetime"])


def test_ipv6_firewall_is_named_through_turnpike(nats):
    _, report = check(nats.sites[0], nats.SERVER6[0])
    assert only_path(report)["nat"]["name"] == NAMES["firewall"]
