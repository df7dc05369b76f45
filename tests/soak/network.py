"""The network that a soak disturbs."""

from lab import Lab, wait_for


class SoakLab(Lab):
    """And a stranger at a port of the relay's own, and a network behind the peer that two gateways lead to."""

    STRANGER4 = "10.201.5.2"
    FAR4, FAR6 = "10.201.9.2", "fd20:9::2"

    def connect(self):
        super().connect()
        self.stranger = self.add("stranger")
        self.join(self.stranger, "eth0", [self.STRANGER4 + "/24"], self.relay, "west", ["10.201.5.1/24"])
        self.stranger.ip("route", "add", "default", "via", "10.201.5.1")
        for address in (self.FAR4 + "/32", self.FAR6 + "/128"):
            self.peer.ip("addr", "add", address, "dev", "lo")
        self.dress_peer()
        self.add_far_routes()
        self.wait_for_addresses()

    def dress_peer(self):
        """What a link that was down has lost, and the second gateway."""
        for address in (self.PEER4 + "/24", self.PEER6 + "/64", "10.201.2.3/24", "fd20:2::3/64"):
            self.peer.ip("addr", "replace", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
        self.peer.ip("route", "replace", "default", "via", self.RELAY4)
        self.peer.ip("-6", "route", "replace", "default", "via", self.RELAY6)

    def add_far_routes(self):
        self.relay.ip("route", "replace", self.FAR4 + "/32", "via", self.PEER4)
        self.relay.ip("-6", "route", "replace", self.FAR6 + "/128", "via", self.PEER6)

    def wait_for_addresses(self):
        """Until the kernel's own addresses on new links are no longer tentative, it asks for no neighbour."""
        wait_for(
            lambda: not any("tentative" in host.ip("-6", "addr").stdout for host in (self.relay, self.peer)),
            10,
            "addresses to ask from",
        )

    def traces(self):
        """What a relay could leave behind."""
        links = self.relay.ip("-o", "link").stdout.splitlines()
        links = sorted((line.split(": ")[1].split("@")[0], "xdp" in line) for line in links)
        return (
            links,
            self.relay.exec("nft", "list", "ruleset", check=False).stdout,
            self.relay.exec("cat", "/proc/sys/net/ipv4/ip_local_reserved_ports").stdout,
        )

    def make_south_anew(self):
        self.relay.ip("link", "del", "south")
        self.join(
            self.peer,
            "eth0",
            [self.PEER4 + "/24", self.PEER6 + "/64"],
            self.relay,
            "south",
            [self.RELAY4 + "/24", self.RELAY6 + "/64"],
        )
        self.dress_peer()
        self.add_far_routes()
