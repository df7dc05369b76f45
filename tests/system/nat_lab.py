"""A public segment with a server of two addresses, and sites beside one another on it, each a host behind a router:

    client --- 192.168.N.0/24, 2001:db8:N::/64 --- router N --+-- 203.0.113.0/24, 2001:db8:f::/64 --- server
    client --- ...                             --- router M --+

What a router does is one of KINDS, for UDP over IPv4, by nftables and the kernel's connection tracking:

    none              a public address behind a router that lets everything through
    firewall          a public address; in comes only what answers something (a "symmetric firewall")
    full-cone         one mapping for all destinations, let in from anywhere
    address           one mapping, let in from addresses that were sent to (address-restricted cone)
    port              one mapping, let in from addresses and ports that were sent to (port-restricted cone)
    symmetric         a mapping of its own, at a random port, for each destination; let in from there alone

Over IPv6 every router is a filtering firewall without NAT, and TCP goes out from everywhere and never in. Mappings, and
what the firewalls remember, last `lifetime_s` seconds after the last datagram. prove() shows by plain sockets that a
router is what it says.
"""

import contextlib
import os
import select
import tempfile
import time

from lab import Host, Relay, remove_leftovers, run

PUBLIC4, PUBLIC6 = "203.0.113", "2001:db8:f:"
NAT_KINDS = ("full-cone", "address", "port", "symmetric")
KINDS = ("none", "firewall", *NAT_KINDS)

ENDPOINT_INDEPENDENT = "endpoint-independent"
ADDRESS_DEPENDENT = "address-dependent"
ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
# Mapping and filtering in RFC 4787's words; None: there is no mapping.
BEHAVIOUR = {
    "none": (None, ENDPOINT_INDEPENDENT),
    "firewall": (None, ADDRESS_AND_PORT_DEPENDENT),
    "full-cone": (ENDPOINT_INDEPENDENT, ENDPOINT_INDEPENDENT),
    "address": (ENDPOINT_INDEPENDENT, ADDRESS_DEPENDENT),
    "port": (ENDPOINT_INDEPENDENT, ADDRESS_AND_PORT_DEPENDENT),
    "symmetric": (ADDRESS_AND_PORT_DEPENDENT, ADDRESS_AND_PORT_DEPENDENT),
}


class Site:
    """A router of a kind and the host behind it. `hairpin`: what the client sends to its own public address comes
    back (full cone only); `block_udp`: no UDP passes, over IPv4 and IPv6; `drop_fragments`: no fragment passes."""

    def __init__(self, lab, number, kind, *, lifetime_s, hairpin, block_udp, drop_fragments):
        assert kind in KINDS, kind
        assert not hairpin or kind == "full-cone"
        self.lab, self.number, self.kind = lab, number, kind
        self.lifetime_s, self.hairpin, self.drop_fragments = lifetime_s, hairpin, drop_fragments
        self.translates = kind in NAT_KINDS
        self.wan4, self.wan6 = f"{PUBLIC4}.{10 + number}", f"{PUBLIC6}:{10 + number}"
        inside4 = f"192.168.{number}" if self.translates else f"198.51.{100 + number}"
        self.client4, self.client6 = f"{inside4}.2", f"2001:db8:{number}::2"
        # By which others see the client; of IPv6 it is its own.
        self.public4 = self.wan4 if self.translates else self.client4
        self.router = lab.add(f"router{number}")
        self.client = lab.add(f"client{number}")
        lab.attach(self.router, "wan", self.wan4, self.wan6)
        lab.join(self.router, "lan", self.client, "eth0")
        self.router.ip("addr", "add", f"{inside4}.1/24", "dev", "lan")
        self.router.ip("addr", "add", f"2001:db8:{number}::1/64", "dev", "lan", "nodad")
        self.client.ip("addr", "add", f"{self.client4}/24", "dev", "eth0")
        self.client.ip("addr", "add", f"{self.client6}/64", "dev", "eth0", "nodad")
        self.client.ip("route", "add", "default", "via", f"{inside4}.1")
        self.client.ip("-6", "route", "add", "default", "via", f"2001:db8:{number}::1")
        for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            self.router.exec("sysctl", "-qw", f"net.{key}=1")
        self.filter(block_udp)

    def filter(self, block_udp, lifetime_s=None):
        """Rules anew. What of a cone was open is closed; what connection tracking knows stays for its time."""
        self.lifetime_s = lifetime_s or self.lifetime_s
        for key in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
            self.router.exec("sysctl", "-qw", f"net.netfilter.{key}={self.lifetime_s}")
        with tempfile.NamedTemporaryFile("w", suffix=".nft") as file:
            file.write("flush ruleset\n" + self.rules(block_udp))
            file.flush()
            self.router.exec("nft", "-f", file.name)

    def rules(self, block_udp):
        life = f"timeout {self.lifetime_s}s"
        lines = []
        add = lines.append
        if self.drop_fragments:
            # Before connection tracking puts them together.
            add("table inet fragments {\nchain early {\ntype filter hook prerouting priority -450; policy accept;")
            add("ip frag-off & 0x3fff != 0 drop\nexthdr frag exists drop\n}\n}")
        add("table ip site {")
        add("set mapped {\ntype inet_service\nflags dynamic,timeout\nsize 65535\n}")
        add("set reached {\ntype inet_service . ipv4_addr\nflags dynamic,timeout\nsize 65535\n}")
        add("chain before {\ntype nat hook prerouting priority -100; policy accept;")
        if self.kind == "full-cone":
            inward = f"ip daddr {self.wan4}" if self.hairpin else 'iifname "wan"'
            add(f"{inward} udp dport @mapped dnat to {self.client4}")
        if self.kind == "address":
            add(f'iifname "wan" udp dport . ip saddr @reached dnat to {self.client4}')
        add("}")
        add("chain through {\ntype filter hook forward priority 0; policy drop;")
        if block_udp:
            add("meta l4proto udp drop")
        if self.kind == "none":
            add("accept")
        if self.kind == "full-cone":
            add(f'iifname "lan" meta l4proto udp update @mapped {{ udp sport {life} }}')
        if self.kind == "address":
            add(f'iifname "lan" meta l4proto udp update @reached {{ udp sport . ip daddr {life} }}')
        add('iifname "lan" accept\nct state established,related accept\nct status dnat accept\n}')
        # What no rule lets in must leave no trace: connection tracking would think its port taken.
        add("chain own {\ntype filter hook input priority 0; policy accept;")
        add('iifname "wan" meta l4proto { tcp, udp } drop\n}')
        add("chain after {\ntype nat hook postrouting priority 100; policy accept;")
        if self.translates:
            how = " fully-random" if self.kind == "symmetric" else ""
            add(f'oifname "wan" masquerade{how}')
        if self.hairpin:
            add(f'iifname "lan" oifname "lan" ct status dnat snat to {self.wan4}')
        add("}\n}")
        add("table ip6 site {\nchain through {\ntype filter hook forward priority 0; policy drop;")
        if block_udp:
            add("meta l4proto udp drop")
        add('iifname "lan" accept\nct state established,related accept\n}')
        add(
            'chain own {\ntype filter hook input priority 0; policy accept;\niifname "wan" meta l4proto { tcp, udp } drop'
        )
        add("}\n}")
        return "\n".join(lines) + "\n"


class NatLab:
    SERVER4 = (f"{PUBLIC4}.1", f"{PUBLIC4}.2")
    SERVER6 = (f"{PUBLIC6}:1", f"{PUBLIC6}:2")

    made = 0

    def __init__(self):
        remove_leftovers()
        NatLab.made += 1
        self.number = NatLab.made
        self.hosts, self.sites, self.relays = [], [], []
        try:
            self.segment = self.add("segment")
            self.segment.ip("link", "add", "br0", "type", "bridge")
            self.segment.ip("link", "set", "br0", "up")
            self.server = self.relay = self.add("server")
            self.attach(self.server, "eth0", *[end for pair in zip(self.SERVER4, self.SERVER6) for end in pair])
        except BaseException:
            self.close()
            raise

    def add(self, name):
        host = Host(f"tpk-{os.getpid()}-n{self.number}-{name}")
        self.hosts.append(host)
        return host

    def attach(self, host, name, *addresses):
        """`host` has an interface on the public segment."""
        port = f"port{len(self.hosts)}"
        self.join(host, name, self.segment, port)
        self.segment.ip("link", "set", port, "master", "br0")
        for address in addresses:
            length, extra = ("64", ["nodad"]) if ":" in address else ("24", [])
            host.ip("addr", "add", f"{address}/{length}", "dev", name, *extra)

    @staticmethod
    def join(a, a_name, b, b_name):
        queues = ("numrxqueues", "1", "numtxqueues", "1")
        run("ip", "link", "add", a_name, "netns", a.name, *queues, "type", "veth",
            "peer", "name", b_name, "netns", b.name, *queues)  # fmt: skip
        for host, name in ((a, a_name), (b, b_name)):
            host.ip("link", "set", name, "up")

    def add_site(self, kind, *, lifetime_s=30, hairpin=False, block_udp=False, drop_fragments=False):
        site = Site(
            self,
            len(self.sites) + 1,
            kind,
            lifetime_s=lifetime_s,
            hairpin=hairpin,
            block_udp=block_udp,
            drop_fragments=drop_fragments,
        )
        self.sites.append(site)
        # Everybody on the segment knows the way to what isn't translated.
        for host in (self.server, *(other.router for other in self.sites if other is not site)):
            self.lead_to(site, host)
        for other in self.sites[:-1]:
            self.lead_to(other, site.router)
        return site

    def start_relay(self, *flags, driver="af_xdp", listen=None, relays=None):
        """A turnpike on the server, by default at port 3478 of all its addresses, that relays between sites."""
        if listen is None:
            listen = [*(f"{a}:3478" for a in self.SERVER4), *(f"[{a}]:3478" for a in self.SERVER6)]
        peers = ("203.0.113.0/24", "198.51.0.0/16", "2001:db8::/32")
        allowed = [word for prefix in peers for word in ("--allow-peer", prefix)]
        relay = Relay(self, [*allowed, *flags], driver, ["eth0"], listen, relays or [self.SERVER4[0], self.SERVER6[0]])
        self.relays.append(relay)
        relay.wait_ready()
        return relay

    @staticmethod
    def lead_to(site, host):
        host.ip("-6", "route", "add", f"2001:db8:{site.number}::/64", "via", site.wan6)
        if not site.translates:
            host.ip("route", "add", f"{site.client4}/32", "via", site.wan4)

    def close(self):
        for relay in self.relays:
            relay.kill()
        for host in reversed(self.hosts):
            host.close()


def behaviour(lab, site):
    """Mapping and filtering that `site` shows to plain sockets, in RFC 4787's words; mapping None: its own address."""
    ports = (40001, 40002)
    with contextlib.ExitStack() as stack:

        def udp(host, address, port=0):
            return stack.enter_context(contextlib.closing(host.udp(address, port)))

        far = {(n, m): udp(lab.server, lab.SERVER4[n], ports[m]) for n in (0, 1) for m in (0, 1)}

        def seen(sock, end):
            """By which address `end` of the server sees `sock`."""
            sock.sendto(b"who", far[end].getsockname())
            data, source = far[end].recvfrom(100)
            assert data == b"who"
            return source

        one = udp(site.client, site.client4)
        first, other_address, other_port = (seen(one, end) for end in ((0, 0), (1, 0), (1, 1)))
        if first == one.getsockname():
            mapping = None
        elif first == other_address:
            mapping = ENDPOINT_INDEPENDENT
        else:
            mapping = ADDRESS_DEPENDENT if other_address == other_port else ADDRESS_AND_PORT_DEPENDENT

        # What has spoken to one end alone: who else may speak to it?
        two = udp(site.client, site.client4)
        where = seen(two, (0, 0))
        for end in far:
            far[end].sendto(repr(end).encode(), where)
        heard = set()
        deadline = time.monotonic() + 1
        while (left := deadline - time.monotonic()) > 0 and select.select([two], [], [], left)[0]:
            heard.add(two.recv(100).decode())
        assert repr((0, 0)) in heard
        if repr((1, 1)) in heard:
            filtering = ENDPOINT_INDEPENDENT
        else:
            filtering = ADDRESS_DEPENDENT if repr((0, 1)) in heard else ADDRESS_AND_PORT_DEPENDENT
        return mapping, filtering


def is_alive_after(lab, site, seconds):
    """Whether a mapping that hasn't been used for `seconds` still lets its far end in."""
    with lab.server.udp(lab.SERVER4[0], 40003) as far, site.client.udp(site.client4) as near:
        near.sendto(b"who", far.getsockname())
        _, where = far.recvfrom(100)
        time.sleep(seconds)
        far.sendto(b"you", where)
        return bool(select.select([near], [], [], 1)[0])


def prove(lab, site):
    """Fails the test whose router is not what it says."""
    shown = behaviour(lab, site)
    assert shown == BEHAVIOUR[site.kind], f"{site.kind}: {shown}"
