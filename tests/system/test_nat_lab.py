"""The lab of NATs is what other tests build on: each router does what its kind says, and leaves nothing behind."""

import os
import select
import socket

import pytest

from lab import run
from nat_lab import KINDS, NatLab, is_alive_after, prove


@pytest.fixture(scope="module")
def nats():
    lab = NatLab()
    for kind in KINDS:
        lab.add_site(kind, lifetime_s=3)
    yield lab
    lab.close()


def site_of(lab, kind):
    return next(site for site in lab.sites if site.kind == kind)


def arrives(sock):
    return bool(select.select([sock], [], [], 1)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_router_maps_and_filters_as_its_kind_says(nats, kind):
    prove(nats, site_of(nats, kind))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_mapping_ends_with_its_lifetime(nats, kind):
    site = site_of(nats, kind)
    assert is_alive_after(nats, site, 2)
    assert not is_alive_after(nats, site, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_tcp_goes_out_and_ipv6_is_filtered_but_not_translated(nats, kind):
    site = site_of(nats, kind)
    with nats.server.inside():
        listener = socket.create_server((nats.SERVER4[0], 4001))
    with listener, site.client.inside():
        socket.create_connection((nats.SERVER4[0], 4001), timeout=5).close()
    with (
        nats.server.udp(nats.SERVER6[0], 4001) as asked,
        nats.server.udp(nats.SERVER6[1], 4001) as other,
        site.client.udp(site.client6) as client,
    ):
        client.sendto(b"who", asked.getsockname())
        assert asked.recvfrom(100)[1] == client.getsockname()
        other.sendto(b"not asked", client.getsockname())
        assert not arrives(client)
        asked.sendto(b"asked", client.getsockname())
        assert arrives(client)


# Which pairs meet without a relay is arithmetic: two of the last kinds guess each other's ports in vain.
@pytest.mark.parametrize(
    "one, other, met",
    [
        ("full-cone", "symmetric", True),
        ("address", "symmetric", True),
        ("port", "port", True),
        ("port", "symmetric", False),
        ("symmetric", "symmetric", False),
    ],
)
def test_pairs_meet_that_can(nats, one, other, met):
    if one == other:
        beside = NatLab()
        sites = [beside.add_site(one), beside.add_site(one)]
    else:
        beside, sites = nats, [site_of(nats, one), site_of(nats, other)]
    try:
        with (
            sites[0].client.udp(sites[0].client4) as a,
            sites[1].client.udp(sites[1].client4) as b,
            beside.server.udp(beside.SERVER4[0]) as server,
        ):
            where = {}
            for sock in (a, b):
                sock.sendto(b"who", server.getsockname())
                where[sock] = server.recvfrom(100)[1]
            for sock, to in ((a, where[b]), (b, where[a]), (a, where[b])):
                sock.sendto(b"check", to)
            heard = {sock for sock in (b, a, b) if arrives(sock) and sock.sendto(b"answer", sock.recvfrom(100)[1])}
            assert (heard == {a, b}) == met
    finally:
        if beside is not nats:
            beside.close()


def test_hairpin_fragments_and_udp_are_let_through_or_not_as_asked():
    lab = NatLab()
    try:
        plain = lab.add_site("full-cone")
        odd = lab.add_site("full-cone", hairpin=True, drop_fragments=True)
        for site, hairpins, fragments in ((plain, False, True), (odd, True, False)):
            prove(lab, site)
            with site.client.udp(site.client4) as sock, lab.server.udp(lab.SERVER4[0], 4002) as server:
                sock.sendto(b"who", server.getsockname())
                where = server.recvfrom(100)[1]
                with site.client.udp(site.client4) as other:
                    other.sendto(b"myself", where)
                    assert arrives(sock) == hairpins
                sock.sendto(bytes(3000), server.getsockname())
                assert arrives(server) == fragments
        plain.filter(block_udp=True)
        for server, client in ((lab.SERVER4[0], plain.client4), (lab.SERVER6[0], plain.client6)):
            with plain.client.udp(client) as sock, lab.server.udp(server, 4003) as far:
                sock.sendto(b"who", far.getsockname())
                assert not arrives(far)
    finally:
        lab.close()
    assert f"tpk-{os.getpid()}-n{lab.number}-" not in run("ip", "netns", "list").stdout
