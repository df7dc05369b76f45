"""Whole ICE agents behind every pair of NATs meet: directly where that is possible, through the relay where it is not.
The table of it is printed at the end of the run.

A mapping that is the same for everybody can be told to the other. A symmetric NAT's can't: what it uses towards the
other is learnt from what arrives (a peer-reflexive candidate), if it arrives, which a filter by address allows and one
by port doesn't.
"""

import pytest

from certificates import authority, make_certificate
from lab import wait_for
from nat_lab import NAT_KINDS, NatLab, prove
from test_ice import NICE_AGENT, Agent
from test_stream_agents import trusting

RELAYED = {("port", "symmetric"), ("symmetric", "port"), ("symmetric", "symmetric")}
# In which a direct way shows, with tries half a second, 1 s, 2 s and 4 s after one another.
PATIENCE_S = 10


@pytest.fixture(scope="module")
def nats():
    """Two sites of each kind, so that each kind can meet itself."""
    lab = NatLab()
    try:
        for kind in NAT_KINDS * 2:
            prove(lab, lab.add_site(kind, lifetime_s=120))
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="module")
def relay(nats, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    chain, key = make_certificate(folder, nats.SERVER4[0])
    config = folder / "pairs.toml"
    text = f'[[certificate]]\nchain = "{chain}"\nkey = "{key}"\n'
    for port, transport in ((3478, "udp"), (3478, "tcp"), (5349, "tls")):
        text += f'[[listener]]\naddress = "{nats.SERVER4[0]}:{port}"\ntransport = "{transport}"\n'
    config.write_text(text)
    relay = nats.start_relay("--config", config, listen=[])
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


def meet_all(pairs, gathered=lambda: None):
    """The pairs of agents meet at the same time, after `gathered()`; [(descriptions, pairs of candidates) of both]."""
    try:
        described = [[one.line() for one in both] for both in pairs]
        gathered()
        for (a, b), (first, second) in zip(pairs, described):
            b.tell(first)
            a.tell(second)
        ends = [[one.line() for one in both] for both in pairs]
        assert all(end["echoed"] == 50 for both in ends for end in both), ends
        for one in (one for both in pairs for one in both):
            assert one.process.wait(20) == 0, one.process.stderr.read()
        return [(texts, [end["pair"] for end in both]) for texts, both in zip(described, ends)]
    finally:
        for one in (one for both in pairs for one in both):
            one.end()


def seen(site):
    """An agent's candidate behind the NAT of `site`, as the other agent has it if nothing is between the two."""
    return ["prflx" if site.kind == "symmetric" else "srflx", site.public4]


def way(lab, sites, pairs):
    """The way that both ends say they have taken."""
    if all("relay" in (local[0], remote[0]) for local, remote in pairs):
        addresses = {address for pair in pairs for kind, address in pair if kind == "relay"}
        return "relay" if addresses == {lab.SERVER4[0]} else "astray"
    for own, other, (local, remote) in zip(sites, reversed(sites), pairs):
        # aioice calls itself by its socket's address, libnice by what the other sees of it.
        if local not in (["host", own.client4], seen(own)) or remote != seen(other):
            return "astray"
    return "direct"


def fill_row(lab, one, table, others, agents):
    """The agents of a row meet, and each by the way that it should; the table has that and what each is to the other."""
    found, said = {}, {}
    for other, sites, (_, pairs) in zip(NAT_KINDS, others, meet_all(agents)):
        found[other], said[other] = way(lab, sites, pairs), pairs
        (_, far_end), (_, near_end) = pairs
        table.cell(one, other, f"{found[other]} ({near_end[0]}-{far_end[0]})")
    assert found == {other: "relay" if (one, other) in RELAYED else "direct" for other in NAT_KINDS}, said


@pytest.mark.parametrize("one", NAT_KINDS)
def test_every_pair_of_nats(nats, relay, table, one):
    rows = [(near(nats, one), far(nats, other)) for other in NAT_KINDS]
    agents = [(agent(nats, a, "controlling"), agent(nats, b, "controlled")) for a, b in rows]
    fill_row(nats, one, table("two agents behind NATs, both aioice"), rows, agents)


@pytest.mark.parametrize("one", ["port", "symmetric"])
def test_libnice_behind_a_nat_that_needs_a_relay(nats, relay, table, one):
    rows = [(near(nats, one), far(nats, other)) for other in NAT_KINDS]
    agents = [(nice_agent(nats, a), agent(nats, b, "controlling")) for a, b in rows]
    fill_row(nats, one, table("two agents behind NATs, the first libnice"), rows, agents)


@pytest.mark.parametrize("ipv4", ["yes", "no"], ids=["beside-ipv4", "alone"])
def test_ipv6_goes_through_two_firewalls_where_ipv4_needs_the_relay(nats, relay, ipv4):
    a, b = near(nats, "symmetric"), far(nats, "symmetric")
    words = ("--ipv4", ipv4, "--ipv6", "yes")
    [(_, pairs)] = meet_all([(agent(nats, a, "controlling", *words), agent(nats, b, "controlled", *words))])
    ends = [["host", site.client6] for site in (a, b)]
    assert pairs == [ends, ends[::-1]]


@pytest.mark.parametrize("blocked", [1, 2], ids=["at-one", "at-both"])
def test_udp_is_blocked(nats, relay, blocked):
    """At one: the other comes by UDP. Full cones, between which everything else would have been direct."""
    sites = (near(nats, "full-cone"), far(nats, "full-cone"))
    streams = [blocked] * 2

    def come_as_they_can():
        def clients():
            kinds = [relay.total("turnpike_stream_connections", kind=kind) for kind in ("tcp", "tls")]
            return kinds == streams and [
                relay.total("turnpike_client_allocations", transport=transport) for transport in ("udp", "tcp")
            ] == [4 - sum(streams), sum(streams)]

        wait_for(clients, 5, f"by TCP and by TLS {blocked} each, the others by UDP")

    for site in sites[:blocked]:
        site.filter(block_udp=True)
    try:
        with trusting(relay):
            pairs = [
                [
                    agent(nats, site, role, "--transport", transport if blocks else "udp", patience_s=2)
                    for site, role, blocks in zip(sites, ("controlling", "controlled"), (True, blocked == 2))
                ]
                for transport in ("tcp", "tls")
            ]
        met = meet_all(pairs, come_as_they_can)
    finally:
        for site in sites[:blocked]:
            site.filter(block_udp=False)
    for descriptions, pairs in met:
        reflexive = [any("typ srflx" in text for text in one["candidates"]) for one in descriptions]
        assert reflexive == [False, blocked == 1]
        assert way(nats, sites, pairs) == "relay"
