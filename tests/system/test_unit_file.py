"""The unit file, as far as it can be held against a service manager that doesn't run."""

import shutil
import subprocess
from pathlib import Path

import pytest
from lab import BINARY

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "turnpike.service"


@pytest.fixture
def verify(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze (package systemd)")

    def verify(text):
        """What there is to say about it."""
        unit = tmp_path / "turnpike.service"
        assert "/usr/local/bin/turnpike" in text
        unit.write_text(text.replace("/usr/local/bin/turnpike", BINARY))
        result = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return result.stdout + ("" if result.returncode == 0 else f"status {result.returncode}")

    return verify


def test_systemd_understands_every_line(verify):
    assert verify(UNIT.read_text()) == ""


def test_a_wrong_line_is_found(verify):
    assert "ProtectWorld" in verify(UNIT.read_text() + "[Service]\nProtectWorld=yes\n")
