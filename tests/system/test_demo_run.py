"""deploy/demo/run itself: a node, signalling and a page on one machine, whose browsers call each other through it."""

import contextlib
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lab as the_lab
from certificates import authority, make_certificate
from demo import DEMO, REPORT, WATCH
from driven_browser import driven
from lab import wait_for

NAME = "turn.example.org"


@contextlib.contextmanager
def running(host, folder, *flags):
    """Gives what it has printed, once it says how to end it."""
    log = folder / "run.log"
    with open(log, "w") as output:
        process = host.start(
            DEMO / "run",
            *flags,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TURNPIKE": the_lab.BINARY},
        )
    try:

        def printed():
            assert process.poll() is None, log.read_text()
            return "Ctrl-C" in log.read_text()

        before = set(Path("/run").glob("turnpike-demo.*"))
        wait_for(printed, 60, "the demo")
        yield log.read_text()
        process.send_signal(signal.SIGINT)
        wait_for(lambda: process.poll() is not None, 20, "its end")
        assert "tpdemo" not in host.exec("ip", "link").stdout
        assert not host.exec("ss", "-Hlnt").stdout and not host.exec("ss", "-Hlnu").stdout
        assert set(Path("/run").glob("turnpike-demo.*")) <= before
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def allocations(host):
    text = host.exec("curl", "-s", "http://127.0.0.1:9641/metrics").stdout
    return sum(float(value) for value in re.findall(r"^turnpike_allocations(?:\{.*\})? (\S+)", text, re.M))


def test_two_browsers_on_this_machine(lab, tmp_path):
    home, world = lab.add("home"), lab.add("world")
    # As any machine has: without a default route Firefox looks for no address of its own.
    lab.join(home, "eth0", ["10.201.60.2/24"], world, "eth0", ["10.201.60.1/24"])
    home.ip("route", "add", "default", "via", "10.201.60.1")
    with contextlib.ExitStack() as stack:
        printed = stack.enter_context(running(home, tmp_path))
        (link,) = re.findall(r"A call for two: +(http://localhost:8080/)", printed)
        with ThreadPoolExecutor(2) as pool:
            start = lambda name: stack.enter_context(driven(home, name, script=WATCH))
            one, two = pool.map(start, ("chromium", "firefox"))
        one.open(link)
        one.click("#start")
        two.open(wait_for(lambda: one.js("document.querySelector('#link').value"), 20, "a link"))
        two.click("#start")
        for page in (one, two):
            page.js("document.querySelector('#way').value = 'relay'")
        one.click("#call", 30)
        pages = (one, two)
        wait_for(lambda: all(page.js(REPORT).get("frames", 0) > 10 for page in pages), 30, "pictures on both sides")
        assert all(page.js(REPORT)["types"] == ["relay", "relay"] for page in pages)
        two.click("#hangup")
        wait_for(lambda: allocations(home) == 0, 10, "no allocation after Hang up")


@pytest.mark.parametrize("certificate", [True, False])
def test_a_public_host(lab, tmp_path, certificate):
    """Page and relay by one name and certificate, at the addresses of the interface of the default route."""
    home = lab.add(f"public{certificate:d}")
    world = lab.add(f"world{certificate:d}")
    lab.join(home, "eth0", ["10.201.50.2/24"], world, "eth0", ["10.201.50.1/24"])
    home.ip("route", "add", "default", "via", "10.201.50.1")
    chain, key = make_certificate(tmp_path, NAME)
    if not certificate:
        result = home.exec(DEMO / "run", "--public", NAME, check=False)
        assert result.returncode == 2 and f"/etc/letsencrypt/live/{NAME}/fullchain.pem" in result.stdout
        return
    with running(home, tmp_path, "--public", NAME, "--certificate", f"{chain},{key}") as printed:
        assert f"https://{NAME}/" in printed
        at = ["--cacert", authority(tmp_path)[0], "--resolve", f"{NAME}:443:10.201.50.2"]
        assert "Hang up" in world.exec("curl", "-sS", *at, f"https://{NAME}/").stdout
        assert "reflexive addr" in world.exec("turnutils_stunclient", "10.201.50.2").stdout
        tls = ["-connect", "10.201.50.2:5349", "-CAfile", authority(tmp_path)[0], "-verify_return_error"]
        assert "Verify return code: 0" in world.exec("openssl", "s_client", *tls, "-servername", NAME).stdout


@pytest.mark.parametrize("flags", [["--port"], ["--nonsense", "1"], ["--interface", "eth0"], ["--public", "a b"]])
def test_wrong_flags(flags):
    result = subprocess.run([DEMO / "run", *flags], capture_output=True, text=True)
    assert result.returncode == 2 and ("deploy/demo/run" in result.stderr)
