"""Payload rules: built-in protocols as real programs speak them, and what each action does to a call."""

import contextlib
import re
import shutil
import socket
import subprocess
import time

import pytest

import turn_client as turn
from lab import BINARY, run, wait_for
from turn_client import TurnClient


def rules(tmp_path, text, packets=4, root=""):
    config = tmp_path / "payload.toml"
    config.write_text(f'{root}[payload]\npackets = {packets}\ncache = "{tmp_path}/cache"\n{text}')
    return ("--config", config)


def matched(relay, rule):
    return relay.total("turnpike_payload_rule_packets_total", rule=rule)


ABUSE = '[[payload.rule]]\nprotocol = "abuse"\naction = "count"\n'
WEBRTC = '[[payload.rule]]\nprotocol = "webrtc"\naction = "count"\n'


def first_datagrams(host, port, command, count, environment=None):
    """What a program sends to 127.0.0.1 at `port` before it is answered."""
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", port))
    sock.settimeout(15)
    program = host.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    try:
        return [sock.recvfrom(2000)[0] for _ in range(count)]
    except socket.timeout:
        program.kill()
        raise AssertionError(f"{command[0]} sends nothing:\n{program.stdout.read().decode()}") from None
    finally:
        sock.close()
        program.kill()
        program.wait()
        program.stdout.close()


def wireguard(lab, tmp_path):
    """A WireGuard in user space, whose peer is 127.0.0.1: its hand-shake."""
    host, key = lab.client, tmp_path / "key"
    key.write_text(run("wg", "genkey").stdout)
    other = run("wg", "genkey").stdout
    public = subprocess.run(["wg", "pubkey"], input=other, capture_output=True, text=True, check=True)
    tunnel = host.start("wireguard-go", "-f", "wg0", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: "wg0" in host.ip("link").stdout, 10, "the tunnel")
        peer = ["peer", public.stdout.strip(), "endpoint", "127.0.0.1:51820", "allowed-ips", "10.9.9.0/24"]
        host.exec("wg", "set", "wg0", "private-key", key, *peer)
        host.ip("addr", "add", "10.9.9.1/24", "dev", "wg0")
        host.ip("link", "set", "wg0", "up")
        return first_datagrams(host, 51820, ["ping", "-c", "1", "10.9.9.2"], 1)
    finally:
        tunnel.terminate()
        tunnel.wait()


def program(command, port, count=1):
    def speak(lab, tmp_path):
        words = [word.format(port=port, tmp=tmp_path) for word in command]
        if shutil.which(words[0]) is None:
            raise AssertionError(f"{words[0]} is not installed: deploy/install-deps --tests")
        return first_datagrams(lab.client, port, words, count)

    return speak


def openvpn(lab, tmp_path, *flags):
    """The start of a session; certificates are looked at later."""
    key = tmp_path / "key.pem"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", key, "-out", key)
    pem = key.read_text()
    certificate = tmp_path / "cert.pem"
    certificate.write_text(pem[pem.index("-----BEGIN CERT") :])
    words = ["openvpn", "--client", "--dev", "null", "--proto", "udp", "--remote", "127.0.0.1", "1194", "--nobind"]
    words += ["--ca", certificate, "--cert", certificate, "--key", key, *flags]
    return first_datagrams(lab.client, 1194, [str(word) for word in words], 1)


def openvpn_with(kind):
    def speak(lab, tmp_path):
        secret = tmp_path / "secret.key"
        run("openvpn", "--genkey", "secret", secret)
        return openvpn(lab, tmp_path, kind, secret)

    return speak


RTP = "gst-launch-1.0 -q audiotestsrc num-buffers=50 ! {encode} ! udpsink host=127.0.0.1 port={{port}}"
SPEAKERS = {
    "dns": program("dig +tries=1 +time=1 @127.0.0.1 -p {port} example.org TXT".split(), 5300),
    "dns plain": program("dig +noedns +tries=1 +time=1 @127.0.0.1 -p {port} example.org".split(), 5301),
    "ntp": program(
        ["chronyd", "-Q", "-t", "8", "-f", "/dev/null", "server 127.0.0.1 iburst port {port}", "pidfile {tmp}/pid"],
        1230,
    ),
    "snmp": program("snmpget -v2c -c public -r0 -t1 127.0.0.1:{port} 1.3.6.1.2.1.1.1.0".split(), 1610),
    "snmp v3": program("snmpget -v3 -u x -l noAuthNoPriv -r0 -t1 127.0.0.1:{port} 1.3.6.1.2.1.1.1.0".split(), 1611),
    "ipsec": program("ike-scan --retry=1 --sport=0 --dport={port} 127.0.0.1".split(), 5000),
    "ipsec v2": program("ike-scan --ikev2 --retry=1 --sport=0 --dport={port} 127.0.0.1".split(), 5001),
    "sip_scan": program("svmap -p {port} -m OPTIONS 127.0.0.1".split(), 5060),
    "openvpn": openvpn,
    "openvpn tls-auth": openvpn_with("--tls-auth"),
    "openvpn tls-crypt": openvpn_with("--tls-crypt"),
    "wireguard": wireguard,
    "dtls": program("openssl s_client -dtls1_2 -connect 127.0.0.1:{port}".split(), 4443),
    "rtp": program(RTP.format(encode="alawenc ! rtppcmapay").split(), 5004, 4),
    "stun": program("turnutils_stunclient -p {port} 127.0.0.1".split(), 3479),
}


@pytest.fixture(scope="module")
def counting(lab, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("payload")
    relay = lab.start_relay(*rules(tmp_path, ABUSE + WEBRTC, packets=1))
    yield relay
    relay.kill()


@pytest.mark.parametrize("name", SPEAKERS)
def test_a_real_programs_first_datagrams_are_known(lab, counting, tmp_path, name):
    rule = name.split()[0]
    datagrams = SPEAKERS[name](lab, tmp_path)
    client = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    client.relayed = client.allocate().address(turn.XOR_RELAYED_ADDRESS)
    peer = lab.peer.udp(lab.PEER4)
    client.channel_bind(0x4000, *peer.getsockname())
    before = counting.metrics()
    for datagram in datagrams:
        client.channel_data(0x4000, datagram)
        assert peer.recvfrom(2000)[0] == datagram
        peer.sendto(datagram, client.relayed)
        assert client.receive_any() == ("channel", 0x4000, datagram)
    after = counting.metrics()
    moved = {
        series: after[series] - before[series]
        for series in after
        if series.startswith("turnpike_payload_rule_flows_total") and after[series] != before[series]
    }
    assert moved == {f'turnpike_payload_rule_flows_total{{rule="{rule}"}}': 2}, "one flow, both directions"
    client.refresh(0)


@pytest.fixture
def call(fresh_lab):
    """Starts a relay and makes a call with a channel: `start(*flags)` gives relay, client and peer."""
    with contextlib.ExitStack() as stack:

        def start(*flags):
            relay = fresh_lab.start_relay(*flags)
            stack.callback(relay.kill)
            client = TurnClient(fresh_lab.client.udp(fresh_lab.CLIENT4), (fresh_lab.SERVER4, 3478))
            client.relayed = client.allocate().address(turn.XOR_RELAYED_ADDRESS)
            peer = fresh_lab.peer.udp(fresh_lab.PEER4)
            client.channel_bind(0x4000, *peer.getsockname())
            peer.settimeout(0.3)
            return relay, client, peer

        yield start


def passes(client, peer, body):
    client.channel_data(0x4000, body)
    try:
        return peer.recvfrom(2000)[0] == body
    except socket.timeout:
        return False


def comes_back(client, peer, body):
    peer.sendto(body, client.relayed)
    client.sock.settimeout(0.3)
    try:
        return client.receive_any() == ("channel", 0x4000, body)
    except socket.timeout:
        return False
    finally:
        client.sock.settimeout(2)


def rule(name, pattern, action, more=""):
    return f'[[payload.rule]]\nname = "{name}"\npattern = "{pattern}"\naction = "{action}"\n{more}\n'


def test_a_dropped_flow_is_one_direction_of_one_peer(call, fresh_lab, tmp_path):
    relay, client, peer = call(*rules(tmp_path, rule("bad", "^bad", "drop")))
    assert passes(client, peer, b"good") and comes_back(client, peer, b"good")
    assert not passes(client, peer, b"bad") and not passes(client, peer, b"good")
    assert comes_back(client, peer, b"good")
    other = fresh_lab.peer.udp(fresh_lab.PEER4)
    client.channel_bind(0x4001, *other.getsockname())
    client.channel_data(0x4001, b"good")
    assert other.recvfrom(100)[0] == b"good"
    assert matched(relay, "bad") == 2
    assert relay.total("turnpike_dropped_packets_total", reason="payload_rule") == 2


def test_a_forged_datagram_ends_nothing(call, tmp_path):
    relay, client, peer = call(*rules(tmp_path, rule("bad", "^bad", "end"), packets=1))
    assert not comes_back(client, peer, b"bad")
    for _ in range(3):
        assert comes_back(client, peer, b"good") and passes(client, peer, b"good")
    assert client.refresh().error is None
    assert relay.total("turnpike_allocations") == 1


@pytest.mark.parametrize("shards", [1, 3])
def test_a_rule_ends_an_allocation_and_the_log_says_which(call, tmp_path, shards):
    relay, client, peer = call(*rules(tmp_path, rule("tunnel", "^tun", "end"), root=f"shards = {shards}\n"))
    assert not passes(client, peer, b"tunnel")
    wait_for(lambda: relay.total("turnpike_allocations") == 0, 5, "the allocation's end")
    assert client.refresh().error == 437
    host, port = client.sock.getsockname()
    wait_for(
        lambda: f"ended the allocation of {host}:{port}: payload rule tunnel" in relay.output(), 15, "the log's word"
    )
    # The user is not refused: his next allocation is as good as any.
    assert client.allocate().error is None


def test_of_many_ended_allocations_the_log_says_how_many(fresh_lab, tmp_path):
    unlimited = "[limits]\nallocations_per_user = 0\nallocations_per_source = 0\n"
    relay = fresh_lab.start_relay(*rules(tmp_path, unlimited + rule("tunnel", "^tun", "end")))
    peer = fresh_lab.peer.udp(fresh_lab.PEER4)
    clients = [TurnClient(fresh_lab.client.udp(fresh_lab.CLIENT4), (fresh_lab.SERVER4, 3478)) for _ in range(150)]
    for client in clients:
        assert client.allocate().error is None
        assert client.channel_bind(0x4000, *peer.getsockname()).error is None

    def all_ended():
        for client in clients:
            client.channel_data(0x4000, b"tunnel")
        return relay.total("turnpike_allocations") == 0

    wait_for(all_ended, 10, "the allocations' end")
    more = re.compile(r"and (\d+) more allocations, ended by payload rules")
    wait_for(lambda: more.search(relay.output()), 15, "the log's word")
    told = relay.output().count("ended the allocation of ")
    assert told >= 64 and told + sum(int(count) for count in more.findall(relay.output())) == 150
    relay.kill()


def test_a_limited_flow_keeps_its_rate(call, tmp_path):
    relay, client, peer = call(*rules(tmp_path, rule("slow", "^slow", "limit", "rate = 800000")))
    peer.setblocking(False)
    body, began, sent, got = b"slow" + bytes(996), time.monotonic(), 0, 0
    while time.monotonic() - began < 2 or got + relay_drops(relay) < sent:
        if time.monotonic() - began < 2:
            client.channel_data(0x4000, body)
            sent += 1
        time.sleep(0.002)
        with contextlib.suppress(BlockingIOError):
            while peer.recvfrom(2000):
                got += 1
    took = 2
    # 100,000 bytes a second and a burst of a tenth of it; a millisecond's draw may be on its way.
    assert 0.9 * (10 + 100 * took) <= got <= 10 + 100 * took + 2, f"{got} of {sent} in {took:.2f} s"


def relay_drops(relay):
    return relay.total("turnpike_dropped_packets_total", reason="payload_limit")


def test_compiled_rules_are_kept(fresh_lab, tmp_path):
    flags = rules(tmp_path, ABUSE)
    for comes_from_cache in (False, True):
        relay = fresh_lab.start_relay(*flags)
        assert ("compiled, from" in relay.output()) == comes_from_cache, relay.output()
        relay.kill()


def test_a_cache_that_is_of_no_use_is_told_once(fresh_lab, tmp_path):
    open_to_all = tmp_path / "cache"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    identity = '[[identity.rule]]\nname = "x"\nattribute = "realm"\naction = "deny"\npattern = "x"\n'
    log = fresh_lab.start_relay(*rules(tmp_path, ABUSE + identity)).output()
    assert log.count("payload.cache") == 1, log
    assert f"payload.cache: {open_to_all}: others than root and this user may write there" in log
    for kind in ("payload", "identity"):
        assert f"patterns of {kind} rules, which may take" in log
        assert re.search(rf"\d {kind} rules, \d+ KiB compiled in \d+ ms", log), log
    assert "ready" in log and not list(open_to_all.iterdir())


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            rule("bad", "a(b", "drop"),
            ":4: payload.rule[0].pattern: Missing close parenthesis for group started at index 1",
        ),
        (rule("all", "a*", "drop"), ":4: payload.rule[0].pattern: matches everything"),
        (
            '[[payload.rule]]\nprotocol = "gopher"\naction = "drop"\n',
            ":4: payload.rule[0].protocol: expected one of abuse, webrtc, dns",
        ),
    ],
)
def test_a_wrong_rule_is_told_with_its_place(tmp_path, text, expected):
    config = tmp_path / "wrong.toml"
    config.write_text(f'realm = "r"\nauth.rest_secrets = ["s"]\n[payload]\n{text}')
    result = run(BINARY, "--config", config, "--port", "af_packet:lo", check=False)
    assert result.returncode == 2
    assert f"{config}{expected}" in result.stdout
