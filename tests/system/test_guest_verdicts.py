"""tests/pci/run believes no guest that says nothing: with a QEMU that is none."""

import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lab import wait_for

RUN = Path(__file__).resolve().parents[1] / "pci" / "run"
JUNIT = '<testsuite><testcase classname="x" name="y">{}</testcase></testsuite>'


def start_core(tmp_path, script):
    """tests/pci/run with this for a QEMU."""
    qemu = tmp_path / "bin" / "qemu-system-x86_64"
    qemu.parent.mkdir()
    path = str(qemu.parent)
    if script is not None:
        qemu.write_text("#!/bin/sh\n" + script)
        qemu.chmod(0o755)
        path += ":" + os.environ["PATH"]
    return subprocess.Popen(
        [RUN, "core"],
        env={**os.environ, "PATH": path, "TURNPIKE_BUILD": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_core(tmp_path, script):
    """(exit status, what was printed, what the verdict holds)."""
    process = start_core(tmp_path, script)
    printed = process.communicate(timeout=100)[0]
    if script is not None and "skipped" in printed:
        pytest.skip(printed.strip())
    cases = list(ElementTree.parse(tmp_path / "pci" / "core" / "junit.xml").getroot().iter("testcase"))
    assert len(cases) == 1
    return process.returncode, printed, [(one.tag, one.get("message")) for one in cases[0]]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_guest_ends_with_who_runs_it(tmp_path):
    process = start_core(tmp_path, "echo $$ >started && mv started pid && exec sleep 90")
    told = tmp_path / "pci" / "core" / "pid"
    wait_for(lambda: told.exists() or process.poll() is not None, 100, "QEMU runs")
    if not told.exists():
        pytest.skip(process.communicate()[0].strip())
    pid = told.read_text().strip()
    assert is_running(pid)
    process.kill()
    process.wait()
    wait_for(lambda: not is_running(pid), 10, "QEMU is gone")


def test_a_guest_that_ends_without_a_word(tmp_path):
    assert run_core(tmp_path, "exit 0")[::2] == (1, [("failure", "told no result: QEMU ended with 0")])


def test_a_guest_that_dies_is_quoted(tmp_path):
    status, printed, verdict = run_core(tmp_path, "echo its last words >console; echo the last of QEMU; kill -9 $$")
    assert (status, verdict) == (1, [("failure", "told no result: QEMU ended with -9")])
    assert "its last words" in printed and "the last of QEMU" in printed


@pytest.mark.parametrize("inner, status", [("", 0), ('<failure message="no"/>', 1), ('<error message="no"/>', 1)])
def test_a_guest_that_tells_is_believed(tmp_path, inner, status):
    assert run_core(tmp_path, f"echo '{JUNIT.format(inner)}' >junit.xml")[0] == status


def test_a_host_without_qemu_says_so(tmp_path):
    assert run_core(tmp_path, None)[::2] == (0, [("skipped", "no qemu-system-x86_64 (package qemu-system-x86)")])
