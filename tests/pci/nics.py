"""The guest's NICs: what QEMU is told of them, and where the guest finds them.

Each model has two links of its own, north and south, and a link two ends: the relay's, a NIC of that model, and the
host's (client or peer), which is always virtio and the guest's kernel's.
"""

NORTH, SOUTH = 0, 1
RELAY, HOST = 0, 1

MODELS = {
    "e1000e": "e1000e",
    "e1000": "e1000",
    "vmxnet3": "vmxnet3",
    "virtio": "virtio-net-pci,disable-legacy=on",
    "virtio-legacy": "virtio-net-pci,disable-modern=on,disable-legacy=off",  # can't be behind an IOMMU
}
# Whose driver says that UDP is shared out among queues, and QEMU has it all in one.
CLAIM_TO_SHARE = {"vmxnet3"}
FIRST_SLOT, LAST_SLOT = 0x02, 0x1D


def slot(model, side, end):
    return FIRST_SLOT + 4 * list(MODELS).index(model) + 2 * side + end


def address(model, side, end=RELAY):
    return f"0000:00:{slot(model, side, end):02x}.0"


def name(model, side, end=RELAY):
    """By which QEMU's monitor knows the NIC."""
    return f"{model}-{('north', 'south')[side]}-{('relay', 'host')[end]}"


def queues(model, end, taps):
    """A tap has them, a hub has not; only virtio shares them out among themselves (RSS)."""
    return 2 if taps and end == RELAY and model == "virtio" else 1


def tap(model, side, end):
    return f"t{slot(model, side, end)}"


def arguments(models, iommu, taps):
    """QEMU's."""
    words = []
    for model in models:
        for side in (NORTH, SOUTH):
            for end in (RELAY, HOST):
                number, count = slot(model, side, end), queues(model, end, taps)
                device = MODELS[model] if end == RELAY else MODELS["virtio"]
                if count > 1:
                    device += f",mq=on,vectors={2 * count + 2},rss=on"
                if iommu and end == RELAY and model == "virtio":
                    device += ",iommu_platform=on"
                backend = (
                    f"tap,ifname={tap(model, side, end)},script=no,downscript=no,vhost=off,queues={count}"
                    if taps
                    else f"hubport,hubid={slot(model, side, RELAY)}"
                )
                words += [
                    "-netdev",
                    f"{backend},id=net{number}",
                    "-device",
                    f"{device},netdev=net{number},id={name(model, side, end)},romfile=,"
                    f"addr={number:#x},mac=02:00:00:00:01:{number:02x}",
                ]
    return words


def make_taps(models):
    """Shell commands: a bridge for each link, with both ends' taps."""
    lines = ["ip link set lo up"]
    for model in models:
        for side in (NORTH, SOUTH):
            bridge = f"b{slot(model, side, RELAY)}"
            lines.append(f"ip link add {bridge} up type bridge mcast_snooping 0")
            for end in (RELAY, HOST):
                several = "multi_queue" if queues(model, end, True) > 1 else ""
                lines += [
                    f"ip tuntap add {tap(model, side, end)} mode tap vnet_hdr {several}",
                    f"ip link set {tap(model, side, end)} mtu 9216 master {bridge} up",
                ]
            lines.append(f"ip link set {bridge} mtu 9216")
    return "\n".join(lines)
