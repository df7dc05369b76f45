"""What a running relay may still do: little, and enough to relay and to clean up after itself."""

import re
import sys
from pathlib import Path

import lab as lab_module
import pytest
import turn_client as turn
from lab import BINARY, Lab, OwnedLab, wait_for
from turn_client import TurnClient

NET_ADMIN, NET_RAW = 1 << 12, 1 << 13


@pytest.fixture
def lab():
    lab = Lab()
    try:
        yield lab
    finally:
        lab.close()


def statuses(pid):
    """Name → the fields of /proc/PID/task/TID/status, of each thread."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        found[f"{fields['Name']} {task.name}"] = fields
    return found


# Runs its arguments where the kernel takes no (further) filter: as in a container whose profile forbids it.
WITHOUT_SECCOMP = f"""#!{sys.executable}
import ctypes, errno, os, sys
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
library.seccomp_init.argtypes = [ctypes.c_uint32]
library.seccomp_load.argtypes = [ctypes.c_void_p]
ALLOW, REFUSE, EQUAL, PR_SET_SECCOMP = 0x7FFF0000, 0x00050000 | errno.EPERM, 4, 22
class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
library.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint,
                                           ctypes.POINTER(Comparison)]
filter = library.seccomp_init(ALLOW)
number = library.seccomp_syscall_resolve_name
asked = Comparison(0, EQUAL, PR_SET_SECCOMP, 0)
assert library.seccomp_rule_add_array(filter, REFUSE, number(b"seccomp"), 0, None) == 0
assert library.seccomp_rule_add_array(filter, REFUSE, number(b"prctl"), 1, ctypes.byref(asked)) == 0
assert library.seccomp_load(filter) == 0
os.execv({lab_module.BINARY!r}, sys.argv)
"""


def relays(lab):
    peer = lab.peer.udp(lab.PEER4)
    one = TurnClient(lab.client.udp(lab.CLIENT4), (lab.SERVER4, 3478))
    assert one.allocate().message_class == turn.SUCCESS
    one.channel_bind(0x4000, *peer.getsockname())
    one.channel_data(0x4000, b"through")
    assert peer.recv(100) == b"through"


def check_threads(relay, allowed):
    def named():
        names = statuses(relay.process.pid)
        return all(any(name.startswith(kind) for name in names) for kind in ("worker", "engine")) and names

    threads = wait_for(named, 10, "threads have names")
    for name, fields in threads.items():
        for kind in ("CapEff", "CapPrm", "CapInh"):
            assert int(fields[kind], 16) & ~allowed == 0, (name, kind, fields[kind])
    wait_for(
        lambda: all(
            fields["Seccomp"] == "2"
            for name, fields in statuses(relay.process.pid).items()
            if name.startswith(("worker", "engine"))
        ),
        10,
        "filters of system calls",
    )
    mine = next(fields for name, fields in threads.items() if name.endswith(f" {relay.process.pid}"))
    assert int(mine["CapBnd"], 16) & ~allowed == 0
    assert mine["NoNewPrivs"] == "1"


@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
@pytest.mark.parametrize("user", ["", "nobody"])
def test_shared_ports_keep_two_capabilities_and_clean_up(lab, tmp_path, driver, user):
    config = tmp_path / "user.toml"
    config.write_text(f'user = "{user}"\n')
    relay = lab.start_relay("--config", config, driver=driver)
    check_threads(relay, NET_ADMIN | NET_RAW)
    if user:
        assert all(fields["Uid"].split()[0] != "0" for fields in statuses(relay.process.pid).values())
    relays(lab)
    assert relay.stop() == 0
    assert "xdp" not in lab.relay.ip("link", "show", "north").stdout
    assert "turnpike" not in lab.relay.exec("nft", "list", "tables").stdout
    assert not Path(f"/run/dpdk/turnpike-{relay.process.pid}").exists()


def test_owned_ports_keep_one_capability(tmp_path):
    lab = OwnedLab()
    try:
        relay = lab.start_relay(directory=tmp_path)
        check_threads(relay, NET_ADMIN)
        relays(lab)
        assert relay.stop() == 0
    finally:
        lab.close()


def test_threads_without_a_filter_of_system_calls_are_told(lab, tmp_path, monkeypatch):
    told = "no filter of system calls (seccomp) for threads: worker, engine"
    wrapper = tmp_path / "turnpike"
    wrapper.write_text(WITHOUT_SECCOMP)
    wrapper.chmod(0o755)
    monkeypatch.setattr(lab_module, "BINARY", str(wrapper))
    relay = lab.start_relay()
    wait_for(lambda: told in relay.output(), 10, "what is missing in the log")
    assert "CONFIG_SECCOMP_FILTER" in relay.output()
    assert relay.total("turnpike_condition", condition="no_sandbox") == 1
    assert relay.get("/readyz")[0] == 200
    relays(lab)
    assert relay.stop() == 0
    assert relay.output().count(told) == 1


@pytest.mark.parametrize("driver, capability", [("af_xdp", "bpf"), ("af_xdp", "net_raw"), ("af_packet", "net_admin")])
def test_a_missing_capability_is_named(lab, driver, capability):
    result = lab.relay.exec(
        "setpriv",
        f"--bounding-set=-{capability}",
        f"--inh-caps=-{capability}",
        BINARY,
        "--port",
        f"{driver}:north",
        "--user",
        "a:b",
        "--realm",
        "r",
        check=False,
    )
    assert result.returncode == 1
    assert re.search(rf"port north needs CAP_{capability.upper()} \(it ", result.stdout), result.stdout


def test_an_unknown_user_is_told(lab, tmp_path):
    config = tmp_path / "user.toml"
    config.write_text('user = "no-such-user"\n')
    result = lab.relay.exec(
        BINARY, "--config", config, "--port", "af_xdp:north", "--user", "a:b", "--realm", "r", check=False
    )
    assert result.returncode == 1 and "user no-such-user: there is no such user" in result.stdout
    assert "xdp" not in lab.relay.ip("link", "show", "north").stdout


def test_starts_as_another_user_with_the_capabilities_that_are_named(lab):
    """Ambient ones, as a service manager gives them; the clean-up's programs have theirs too."""
    wanted = "net_admin,net_raw,bpf,perfmon,sys_admin,ipc_lock"
    inherited = ",".join(f"+{name}" for name in wanted.split(","))
    ready = lab.relay.exec(
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        f"--inh-caps={inherited}",
        f"--ambient-caps={inherited}",
        "timeout",
        "-s",
        "TERM",
        "6",
        BINARY,
        "--port",
        "af_packet:north",
        "--user",
        "a:b",
        "--realm",
        "r",
        check=False,
    )
    assert re.search("ready$", ready.stdout, re.M) and re.search("stopped$", ready.stdout, re.M), ready.stdout
    assert "turnpike" not in lab.relay.exec("nft", "list", "tables").stdout
