"""Whole ICE agents behind every pair of NATs meet: directly where that is possible, through the relay where it is not.
The table of it is printed at the end of the run.

A mapping that is the same for everybody can be told to the other. A symmetric NAT's can't: what it uses towards the
other is learnt from what arrives (a peer-reflexive candidate), if it arrives, which a filter by address allows and one
by port doesn't.
"""

import pytest

from certificates import authority, make_certificate
from nat_lab import NAT_KINDS, NatLab, prove
from test_ice import NICE_AGENT, Agent, introduce
from test_streams import trusting

RELAYED = {("port", "symmetric"), ("symmetric", "port"), ("symmetric", "symmetric")}
# In which a direct way shows, with tries half a second, 1 s, 2 s and 4 s after one another.
PATIENCE_S = 10


@pytest.fixture(scope="module")
def nats():
    """Two sites of each kind, so that each kind can meet itself."""
    lab = NatLab()
    try:
        for kind in NAT_KINDS * 2:
            prove(lab, lab.add_site(kind))
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="module")
def relay(nats, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    chain, key = make_certificate(folder, nats.SERVER4[0])
    config = folder / "pairs.toml"
    config.write_text(
        f'certificate = [{{ chain = "{chain}", key = "{key}" }}]\n'
        f'[[listener]]\naddress = "{nats.SERVER4[0]}:3478"\ntransport = "tcp"\n'
        f'[[listener]]\naddress = "{nats.SERVER4[0]}:5349"\ntransport = "tls"\n'
    )
    relay = nats.start_relay("--config", config)
    relay.authority = authority(folder)[0]
    yield relay
    assert relay.stop() == 0, relay.output()


def near(lab, kind):
    return lab.sites[NAT_KINDS.index(kind)]


def far(lab, kind):
    return lab.sites[len(NAT_KINDS) + NAT_KINDS.index(kind)]


def agent(lab, site, role, *words, patience_s=PATIENCE_S):
    return Agent(site.client, role, lab.SERVER4[0], "ALL", "--reflexive", "--patience", patience_s, *words)


def nice_agent(lab, site):
    return Agent(site.client, site.client4, lab.SERVER4[0], 50, "ALL", program=NICE_AGENT)


def meet_all(pairs):
    """The pairs of agents meet at the same time; [(descriptions of both, pairs of candidates of both)]."""
    try:
        described = [introduce(*both) for both in pairs]
        ends = [[one.line() for one in both] for both in pairs]
        assert all(end["echoed"] == 50 for both in ends for end in both), ends
        for one in (one for both in pairs for one in both):
            assert one.process.wait(20) == 0, one.process.stderr.read()
        return [(texts, [end["pair"] for end in both]) for texts, both in zip(described, ends)]
    finally:
        for one in (one for both in pairs for one in both):
            one.end()


def direct_end(other):
    """What an agent says of a direct way over IPv4 to one behind `other`."""
    return [other.public4, "prflx" if other.kind == "symmetric" else "srflx"]


def way(lab, sites, pairs):
    """ "direct" or "relay", if both ends agree that it was; else what they said."""
    if all("relay" in (local[0], remote[0]) for local, remote in pairs):
        addresses = {address for pair in pairs for kind, address in pair if kind == "relay"}
        return "relay" if addresses == {lab.SERVER4[0]} else pairs
    direct = [[["host", own.client4], direct_end(other)[::-1]] for own, other in zip(sites, reversed(sites))]
    return "direct" if pairs == direct else pairs


def fill_row(lab, one, table, others, agents):
    """The agents of a row meet, and each by the way that it should; both are written into the table."""
    found = {}
    for other, sites, (_, pairs) in zip(NAT_KINDS, others, meet_all(agents)):
        found[other] = way(lab, sites, pairs)
        table.cell(one, other, f"{found[other]} ({'-'.join(end[0] for end in pairs[0])})")
    assert found == {other: "relay" if (one, other) in RELAYED else "direct" for other in NAT_KINDS}


@pytest.mark.parametrize("one", NAT_KINDS)
def test_every_pair_of_nats(nats, relay, table, one):
    rows = [(near(nats, one), far(nats, other)) for other in NAT_KINDS]
    agents = [(agent(nats, a, "controlling"), agent(nats, b, "controlled")) for a, b in rows]
    fill_row(nats, one, table("ICE (aioice) behind two NATs"), rows, agents)


@pytest.mark.parametrize("one", ["port", "symmetric"])
def test_libnice_behind_a_nat_that_needs_a_relay(nats, relay, table, one):
    rows = [(near(nats, one), far(nats, other)) for other in NAT_KINDS]
    agents = [(nice_agent(nats, a), agent(nats, b, "controlling")) for a, b in rows]
    fill_row(nats, one, table("ICE behind two NATs, the first agent libnice"), rows, agents)


@pytest.mark.parametrize("ipv4", ["yes", "no"], ids=["beside-ipv4", "alone"])
def test_ipv6_goes_through_two_firewalls_where_ipv4_needs_the_relay(nats, relay, ipv4):
    a, b = near(nats, "symmetric"), far(nats, "symmetric")
    words = ("--ipv4", ipv4, "--ipv6", "yes")
    [(_, pairs)] = meet_all([(agent(nats, a, "controlling", *words), agent(nats, b, "controlled", *words))])
    ends = [["host", site.client6] for site in (a, b)]
    assert pairs == [ends, ends[::-1]]


@pytest.mark.parametrize("blocked", [1, 2], ids=["at-one", "at-both"])
def test_udp_is_blocked(nats, relay, blocked):
    """At one the other comes by UDP. Full cones, between which everything else would have been direct."""
    sites = (near(nats, "full-cone"), far(nats, "full-cone"))
    before = {transport: made(relay, transport) for transport in ("udp", "tcp", "tls")}
    for site in sites[:blocked]:
        site.filter(block_udp=True)
    try:
        with trusting(relay):
            met = meet_all(
                [
                    [
                        agent(nats, site, role, "--transport", transport if blocks else "udp", patience_s=2)
                        for site, role, blocks in zip(sites, ("controlling", "controlled"), (True, blocked == 2))
                    ]
                    for transport in ("tcp", "tls")
                ]
            )
    finally:
        for site in sites[:blocked]:
            site.filter(block_udp=False)
    for descriptions, pairs in met:
        reflexive = [any("typ srflx" in text for text in one["candidates"]) for one in descriptions]
        assert reflexive == [False, blocked == 1]
        assert way(nats, sites, pairs) == "relay"
    after = {transport: made(relay, transport) - before[transport] for transport in before}
    assert after == {"udp": 2 * (2 - blocked), "tcp": blocked, "tls": blocked}
