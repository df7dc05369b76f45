"""Patterns with Vectorscan, which takes Hyperscan's place where there is none: Debian's package, unpacked aside since the two
conflict, and found by pkg-config as meson finds it on an operator's machine."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import run

ROOT = Path(__file__).resolve().parents[2]
TESTS = ["patterns", "protocols", "identity_rules", "flow_payload"]


@pytest.fixture(scope="module")
def vectorscan(tmp_path_factory):
    """The folder with its libhs.pc."""
    place = tmp_path_factory.mktemp("vectorscan")
    for package in ("libvectorscan-dev", "libvectorscan5"):
        try:
            got = subprocess.run(
                ["apt-get", "download", package], cwd=place, check=False, capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"apt-get can't download {package}: {error}")
        if got.returncode != 0:
            pytest.skip(f"apt-get can't download {package}: {got.stderr.strip()[-300:]}")
    for package in place.glob("*.deb"):
        run("dpkg", "-x", package, place / "root")
    found = next(place.rglob("libhs.pc"))
    found.write_text(found.read_text().replace("=/usr", f"={place}/root/usr"))
    yield found.parent
    shutil.rmtree(place)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_patterns_match_alike(vectorscan, tmp_path):
    build = tmp_path / "build"
    environment = {**os.environ, "PKG_CONFIG_PATH": str(vectorscan)}
    subprocess.run(
        ["meson", "setup", build, ROOT, "-Dnode=false", "-Dbuildtype=plain", "-Doptimization=0"],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        timeout=120,
    )
    run("ninja", "-C", build, "-j2", *(f"tests/unit/unit-{name}" for name in TESTS), timeout=400)
    for name in TESTS:
        program = build / "tests" / "unit" / f"unit-{name}"
        assert str(vectorscan.parent) in run("ldd", program).stdout, "it is the other library that is tested"
        done = run(program, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
