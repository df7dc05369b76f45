"""RFC 5780 and RFC 3489's own way of finding out about NATs: a relay with two addresses and two ports, asked without a NAT
in between, by raw requests, by coturn's client and by Debian's; and what all of its answers cost."""

import os
import re
import select
import socket
import struct

import pytest

import turn_client as turn
from lab import Lab, OwnedLab, wait_for

MAPPED_ADDRESS, CHANGE_REQUEST, SOURCE_ADDRESS, CHANGED_ADDRESS = 1, 3, 4, 5
PADDING, RESPONSE_PORT, RESPONSE_ORIGIN, OTHER_ADDRESS = 0x26, 0x27, 0x802B, 0x802C
PORTS = 3478, 3479
SERVERS = {4: (Lab.SERVER4, "10.201.1.3"), 6: (Lab.SERVER6, "fd20:1::3")}
CLIENTS = {4: Lab.CLIENT4, 6: Lab.CLIENT6}
IP_UDP = {4: 28, 6: 48}
TABLE = f"""
[nat_discovery]
addresses = ["{SERVERS[4][0]}", "{SERVERS[4][1]}", "{SERVERS[6][0]}", "{SERVERS[6][1]}"]
"""


@pytest.fixture(scope="module", params=["af_packet", "af_xdp", "owned"])
def world(request, tmp_path_factory):
    """(lab, relay)"""
    directory = tmp_path_factory.mktemp("discovery")
    lab = OwnedLab() if request.param == "owned" else Lab()
    try:
        if request.param == "owned":
            relay = lab.start_relay(
                directory=directory, more_north=(SERVERS[4][1] + "/24", SERVERS[6][1] + "/64"), more_config=TABLE
            )
        else:
            lab.relay.ip("addr", "add", SERVERS[4][1] + "/24", "dev", "north")
            lab.relay.ip("addr", "add", SERVERS[6][1] + "/64", "dev", "north", "nodad")
            (directory / "discovery.toml").write_text(TABLE)
            relay = lab.start_relay("--config", directory / "discovery.toml", driver=request.param)
        yield lab, relay
        assert relay.stop() == 0, relay.output()
    finally:
        lab.close()


def read_address(value):
    """Of MAPPED-ADDRESS's form."""
    family = socket.AF_INET if value[1] == 1 else socket.AF_INET6
    return socket.inet_ntop(family, value[4:]), struct.unpack("!H", value[2:4])[0]


def binding(attributes=(), **more):
    return turn.build(turn.BINDING, turn.REQUEST, os.urandom(12), list(attributes), **more)


def classic(attributes=()):
    body = b"".join(struct.pack("!HH", kind, len(value)) + value for kind, value in attributes)
    return struct.pack("!HH", 1, len(body)) + b"\x01" + os.urandom(15) + body


def change(address, port):
    return CHANGE_REQUEST, struct.pack("!I", 4 * address + 2 * port)


def receive(sock, request, seconds=5):
    """(answer, where it came from) of what answers `request`."""
    while True:
        assert select.select([sock], [], [], seconds)[0], "no answer"
        answer, source = sock.recvfrom(65536)
        if answer[8:20] == request[8:20]:
            return answer, source[:2]


def ask(sock, to, request):
    for _ in range(5):
        sock.sendto(request, to)
        if select.select([sock], [], [], 1)[0]:
            break
    return receive(sock, request)


@pytest.mark.parametrize("family", [4, 6])
def test_answers_come_from_where_they_are_asked_to(world, family):
    lab, _ = world
    with lab.client.udp(CLIENTS[family]) as sock:
        own = sock.getsockname()[:2]
        for at in range(4):
            for asked in (None, *range(4)):
                here, there = SERVERS[family][at // 2], SERVERS[family][1 - at // 2]
                port, other = PORTS[at % 2], PORTS[1 - at % 2]
                by_address, by_port = divmod(asked or 0, 2)
                expected = there if by_address else here, other if by_port else port
                attributes = [] if asked is None else [change(by_address, by_port)]
                answer, source = ask(sock, (here, port), binding(attributes))
                message = turn.Message(answer)
                assert source == expected
                assert read_address(message.get(RESPONSE_ORIGIN)) == expected
                assert read_address(message.get(OTHER_ADDRESS)) == (there, other)
                assert read_address(message.get(MAPPED_ADDRESS)) == own
                assert message.address(turn.XOR_MAPPED_ADDRESS) == own
                answer, source = ask(sock, (here, port), classic(attributes))
                assert source == expected and answer[:2] == b"\x01\x01"
                size = 8 if family == 4 else 20
                values = [answer[at : at + 4 + size] for at in range(20, len(answer), 4 + size)]
                assert {value[1]: read_address(value[4:]) for value in values} == {
                    MAPPED_ADDRESS: own,
                    SOURCE_ADDRESS: expected,
                    CHANGED_ADDRESS: (there, other),
                }


@pytest.mark.parametrize("family", [4, 6])
def test_answers_go_to_the_response_port(world, family):
    lab, relay = world
    before = relay.total("turnpike_nat_discovery_answers_total", kind="to_elsewhere")
    with lab.client.udp(CLIENTS[family]) as sock, lab.client.udp(CLIENTS[family]) as other:
        request = binding([(RESPONSE_PORT, struct.pack("!HH", other.getsockname()[1], 0)), change(1, 1)])
        sock.sendto(request, (SERVERS[family][0], 3478))
        answer, source = receive(other, request)
        assert source == (SERVERS[family][1], 3479)
        assert turn.Message(answer).address(turn.XOR_MAPPED_ADDRESS) == sock.getsockname()[:2]
        both = binding([(RESPONSE_PORT, struct.pack("!HH", other.getsockname()[1], 0)), (PADDING, bytes(100))])
        assert turn.Message(ask(sock, (SERVERS[family][0], 3478), both)[0]).error == 400
    wait_for(lambda: relay.total("turnpike_nat_discovery_answers_total", kind="to_elsewhere") > before, 5, "it counted")


def reassembled(lab, family):
    name = "snmp" if family == 4 else "snmp6"
    text = lab.client.exec("cat", f"/proc/net/{name}").stdout
    if family == 6:
        return int(re.search(r"^Ip6ReasmOKs\s+(\d+)", text, re.M)[1])
    names, values = (line.split() for line in text.splitlines() if line.startswith("Ip:"))
    return int(values[names.index("ReasmOKs")])


@pytest.mark.parametrize("family", [4, 6])
def test_padding_comes_and_goes_in_fragments(world, family):
    lab, _ = world
    before = reassembled(lab, family)
    with lab.client.udp(CLIENTS[family]) as sock:
        answer, source = ask(sock, (SERVERS[family][0], 3478), binding([(PADDING, bytes(1500)), change(1, 0)]))
        message = turn.Message(answer)
        assert source == (SERVERS[family][1], 3478)
        assert message.get(PADDING) == bytes(1500)
    assert reassembled(lab, family) > before


def discover(lab, *arguments):
    """What coturn's client says."""
    result = lab.client.exec("timeout", "60", "turnutils_natdiscovery", *arguments, check=False)
    return result.stdout


@pytest.mark.parametrize("family", [4, 6])
def test_coturns_client_finds_no_nat(world, family):
    lab, _ = world
    said = discover(lab, "-m", "-f", "-L", CLIENTS[family], SERVERS[family][0])
    assert "No NAT! (Endpoint Independent Mapping)" in said, said
    assert "Endpoint Independent Filtering" in said, said


@pytest.mark.parametrize("family", [4, 6])
def test_coturns_client_has_an_answer_in_its_other_modes(world, family):
    """Lifetime, where the answer comes to another port of its; collision, hairpinning, and padding."""
    lab, relay = world
    second = {4: "10.201.1.9/24", 6: "fd20:1::9/64"}[family]
    lab.client.ip("addr", "add", second, "dev", "eth0", *(["nodad"] if family == 6 else []))
    before = relay.total("turnpike_nat_discovery_answers_total", kind="padded")
    here, server = ("-L", CLIENTS[family]), SERVERS[family][0]
    try:
        said = discover(lab, "-t", "-T", "1", *here, server)
        assert "RFC 5780 response 2" in said, said
        said = discover(lab, "-c", "-A", second.split("/")[0], "-l", "45000", *here, server)
        assert "RFC 5780 response 2" in said and said.count(":45000") == 4, said
        said = discover(lab, "-H", *here, server)
        assert "Received a request" in said, said
        said = discover(lab, "-m", "-f", "-P", *here, server)
        assert "RFC 5780 response 4" in said and "Endpoint Independent Filtering" in said, said
    finally:
        lab.client.ip("addr", "del", second, "dev", "eth0")
    assert relay.total("turnpike_nat_discovery_answers_total", kind="padded") >= before + 4


def test_debians_stun_client_finds_the_open_internet(world):
    lab, _ = world
    result = lab.client.exec("stun", SERVERS[4][0], "-v", check=False)
    assert "Primary: Open" in result.stdout, result.stdout


def test_debians_stun_client_passes_each_test(world):
    """Binding, and each kind of CHANGE-REQUEST, of which number 11 and on go to the changed address."""
    lab, _ = world
    for number in (1, 2, 3, 10):
        result = lab.client.exec("stun", SERVERS[4][0], str(number), "-v", check=False)
        assert result.returncode == 0 and "MappedAddress" in result.stdout, result.stdout


def every_request(family):
    """(name, request) of each kind of request that gets an answer from a stranger."""
    address = socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, SERVERS[family][0])
    for fingerprint in (False, True):
        for method in (turn.ALLOCATE, turn.REFRESH, turn.CREATE_PERMISSION, turn.CHANNEL_BIND, 0x00A, 0x00B):
            yield f"method {method}", turn.build(method, 0, os.urandom(12), [], fingerprint=fingerprint)
        forged = [(turn.USERNAME, b"a"), (turn.REALM, b"b"), (turn.NONCE, b"c")]
        for parts in (forged, forged[:1], []):
            yield "integrity", turn.build(turn.ALLOCATE, 0, os.urandom(12), parts, key=b"key", fingerprint=fingerprint)
        yield "Binding", binding(fingerprint=fingerprint)
        for flags in range(4):
            yield f"CHANGE-REQUEST {flags}", binding([change(*divmod(flags, 2))], fingerprint=fingerprint)
        for size in (0, 1, 4, 100, 400, 1400):
            yield f"PADDING {size}", binding([(PADDING, bytes(size))], fingerprint=fingerprint)
        for unknown in (1, 2, 20, 60):
            kinds = [(0x7000 + i, b"") for i in range(unknown)]
            yield f"{unknown} unknown", binding(kinds, fingerprint=fingerprint)
        yield "RESPONSE-PORT 0", binding([(RESPONSE_PORT, bytes(4))], fingerprint=fingerprint)
        yield "both", binding([(RESPONSE_PORT, b"\x12\x34\0\0"), (PADDING, b"")], fingerprint=fingerprint)
        yield "malformed", binding([(CHANGE_REQUEST, b"")], fingerprint=fingerprint)
    yield "classic", classic()
    for flags in range(4):
        yield f"classic CHANGE-REQUEST {flags}", classic([change(*divmod(flags, 2))])
    yield "classic RESPONSE-ADDRESS", classic([(2, struct.pack("!BBH", 0, len(address) // 8 + 1, 9) + address)])
    for unknown in (1, 2, 20, 60):
        yield f"classic, {unknown} unknown", classic([(0x7000 + i, b"") for i in range(unknown)])


@pytest.mark.parametrize("family", [4, 6])
def test_no_request_of_a_stranger_brings_more_than_three_times_its_bytes(world, family):
    lab, _ = world
    with lab.client.udp(CLIENTS[family]) as sock:
        for name, request in every_request(family):
            answer, _ = ask(sock, (SERVERS[family][0], 3478), request)
            # Fragments' headers are the answer's too; the request that has such an answer is one packet.
            pieces = 1 + (IP_UDP[family] + len(answer)) // 1500
            headers = pieces * (20 if family == 4 else 48) + 8 if pieces > 1 else IP_UDP[family]
            assert headers + len(answer) <= 3 * (IP_UDP[family] + len(request)), name


def test_answers_to_another_port_and_padding_are_rationed_by_source(world):
    lab, relay = world
    before = relay.total("turnpike_dropped_packets_total", reason="discovery_source_limit")
    with lab.client.udp(CLIENTS[4]) as sock:
        for attributes in ([(PADDING, b"")], [(RESPONSE_PORT, struct.pack("!HH", sock.getsockname()[1], 0))]):
            for _ in range(100):
                sock.sendto(binding(attributes), (SERVERS[4][0], 3478))
        wait_for(
            lambda: relay.total("turnpike_dropped_packets_total", reason="discovery_source_limit") > before + 50,
            10,
            "they counted",
        )
        answer, source = ask(sock, (SERVERS[4][0], 3478), binding([change(1, 1)]))
        assert source == (SERVERS[4][1], 3479) and turn.Message(answer).error is None


def test_addresses_of_two_interfaces_are_refused(lab, tmp_path):
    path = tmp_path / "apart.toml"
    path.write_text(f'nat_discovery.addresses = ["{lab.SERVER4}", "{lab.RELAY4}"]\n')
    relay = lab.start_relay("--config", path, expect_ready=False)
    assert relay.process.wait(timeout=60) == 2
    assert "nat_discovery.addresses: expected both addresses of a family on one interface" in relay.output()
