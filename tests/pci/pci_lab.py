"""The network of tests/system in the guest, with the relay on two PCI NICs that DPDK drives."""

import contextlib
import os
import subprocess
from pathlib import Path

import lab
import nics
from lab import Lab, wait_for

DRIVER = os.environ["TURNPIKE_PCI_BIND"]
TAPS = bool(os.environ["TURNPIKE_PCI_TAPS"])
MODELS = [name for name in os.environ["TURNPIKE_PCI_MODELS"].split(",") if name]
DEVICES = Path("/sys/bus/pci/devices")


def bind(address):
    """What `dpdk-devbind.py --bind` does."""
    bound = DEVICES / address / "driver"
    if bound.exists() and bound.resolve().name != DRIVER:
        (bound / "unbind").write_text(address)
    if not bound.exists():
        (DEVICES / address / "driver_override").write_text(DRIVER)
        Path("/sys/bus/pci/drivers_probe").write_text(address)
    assert bound.exists() and bound.resolve().name == DRIVER, f"{address} is not bound to {DRIVER}"


def monitor(command):
    """Says a line to QEMU's monitor, which is the second serial line."""
    with open("/dev/ttyS1", "r+b", buffering=0) as line:
        line.write(command.encode() + b"\n")


def tag(host, interface, tags, addresses):
    """The kernel's interfaces for these tags, outermost first; the addresses go to the innermost."""
    for protocol, number in tags:
        host.ip(
            "link",
            "add",
            "link",
            interface,
            "name",
            f"{interface}.{number}",
            "type",
            "vlan",
            "proto",
            protocol,
            "id",
            str(number),
        )
        interface = f"{interface}.{number}"
        host.ip("link", "set", interface, "up")
    for address in addresses:
        host.ip("addr", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))


def loses_nothing(host, address, *flags):
    output = host.exec("ping", "-c", "3", "-i", "0.2", "-W", "5", *flags, address, check=False).stdout
    assert " 0% packet loss" in output, output


class PciLab(Lab):
    """The client's and the peer's eth0 are NICs of the kernel's, at the other ends of the relay's links."""

    def __init__(self, model):
        self.model = model
        super().__init__()

    def connect(self):
        for side in (nics.NORTH, nics.SOUTH):
            bind(nics.address(self.model, side))
            self.set_link(side, True)
        for host, side, addresses, gateways in (
            (self.client, nics.NORTH, (self.CLIENT4 + "/24", self.CLIENT6 + "/64"), (self.SERVER4, self.SERVER6)),
            (self.peer, nics.SOUTH, (self.PEER4 + "/24", self.PEER6 + "/64"), (self.RELAY4, self.RELAY6)),
        ):
            device = DEVICES / nics.address(self.model, side, nics.HOST)
            name = wait_for(
                lambda: next(device.glob("virtio*/net/*"), None), 10, f"{device.name}'s interface is here"
            ).name
            lab.run("ip", "link", "set", name, "netns", host.name, "name", "eth0")
            # All at once: under emulation a process takes long to start.
            host.exec(
                "sh",
                "-ec",
                f"""  # one process of Python's: each takes long here
                ip link set eth0 mtu 1500 up
                ip addr add {addresses[0]} dev eth0
                ip addr add {addresses[1]} dev eth0 nodad
                ip route add default via {gateways[0]}
                ip route add default via {gateways[1]}
            """,
            )
            self.leave_checksums(host, False)

    @staticmethod
    def leave_checksums(host, left):
        """Whether the host's kernel leaves checksums to its NIC; a tap's gives them on as they are, begun and not done."""
        host.exec("ethtool", "-K", "eth0", "tx", "on" if left else "off", check=TAPS)

    def set_link(self, side, up):
        """Plugs the relay's NIC in, or pulls it out."""
        monitor(f"set_link {nics.name(self.model, side)} {'on' if up else 'off'}")

    def close(self):
        for relay in self.relays:
            self.tell(relay)
            # By its own leave: QEMU's vmxnet3 aborts where it is set up again behind a process that was killed.
            with contextlib.suppress(subprocess.TimeoutExpired):
                relay.stop()
        # A socket that a failed test still holds would keep the namespace, and the NIC in it.
        for host, side in ((self.client, nics.NORTH), (self.peer, nics.SOUTH)):
            name = f"nic{nics.slot(self.model, side, nics.HOST)}"  # unlike all others, and no longer than names may be
            host.ip("link", "set", "eth0", "netns", "1", "name", name, check=False)
        super().close()

    def tell(self, relay):
        """For who reads of a failure: what the relay said and counted."""
        print("\n" + relay.output())
        if relay.process.poll() is None:
            with contextlib.suppress(OSError):
                print("".join(f"{series} {value}\n" for series, value in relay.metrics().items() if value))
        for host in (self.client, self.peer):
            print(
                host.name,
                host.exec("nstat", "-as", "UdpNoPorts", "UdpRcvbufErrors", "IpReasmFails", check=False).stdout,
            )

    def write_config(self, directory, workers=1, top="", port="", devices=None, gateways=()):
        north, south = devices or [nics.address(self.model, side) for side in (nics.NORTH, nics.SOUTH)]
        path = Path(directory) / "pci.toml"
        path.write_text(
            f"""
workers = {workers}
idle_sleep_us = 1000
{top}
[[port]]
device = "{north}"
addresses = ["{self.SERVER4}/24", "{self.SERVER6}/64"]
{port}
[[port]]
device = "{south}"
addresses = ["{self.RELAY4}/24", "{self.RELAY6}/64"]
gateway = {list(gateways)}
{port}
"""
        )
        return path

    def start_relay(self, *flags, directory, expect_ready=True, **configuration):
        path = self.write_config(directory, **configuration)
        return super().start_relay("--config", path, *flags, ports=(), expect_ready=expect_ready)

    def start_peer(self):
        self.peer.start("turnutils_peer", "-L", self.PEER4, "-L", self.PEER6, "-p", "3480")
        wait_for(lambda: ":3480" in self.peer.exec("ss", "-Huln").stdout, 10, "turnutils_peer listening")
