#!/usr/bin/python3
"""The rules of the house that a compiler doesn't keep: which room may include which, that each header stands
alone, that the code is formatted. Prints every breach; exit status 1 if there is one."""

import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A room may include itself, the public headers and these. Arrows point down only.
MAY_INCLUDE = {
    "include": set(),
    "examples": set(),
    "base": set(),
    "wire": {"base"},
    "turn": {"base", "wire"},
    "policy": {"base", "wire"},
    "tables": {"base"},
    "flow": {"base", "wire", "policy", "tables"},
    "kernel": {"base", "tables", "log"},
    "engine": {"base", "wire", "turn", "tables", "policy", "auth", "log"},
    "observe": {"base", "tables", "flow", "turn", "log"},
    "dataplane": {"base", "wire", "flow", "tables", "kernel", "log"},
    "config": {"base", "wire"},
    "auth": {"base", "wire", "log"},
    "log": set(),
    "control": {"base", "wire", "turn", "policy", "tables", "flow", "config", "auth", "kernel", "engine", "observe", "dataplane", "log"},
    "main": {"config", "control"},
}
# Rooms in which nothing may touch DPDK, a socket, a clock or a random source.
PURE = {"include", "base", "wire", "turn"}
IMPURE = re.compile(r"#include <(rte_|sys/socket|random|chrono|ctime|time\.h|unistd)|\b(getrandom|RAND_bytes|clock_gettime)\b")


def room_of(path):
    parts = path.relative_to(ROOT).parts
    if parts[0] in ("include", "examples"):
        return parts[0]
    return "main" if len(parts) == 2 else parts[1]


def sources():
    for folder in ("include", "src", "examples"):
        yield from (p for p in sorted((ROOT / folder).rglob("*")) if p.suffix in (".h", ".cpp"))


def check_arrows():
    for path in sources():
        room = room_of(path)
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(ROOT)}:{number}"
            if found := re.match(r'#include "([a-z_]+)/', line):
                target = found[1]
                if target not in {"turnpike", room} | MAY_INCLUDE[room]:
                    yield f"{where}: {room} must not include {target}"
            if room in PURE and IMPURE.search(line):
                yield f"{where}: {room} must not touch DPDK, sockets, clocks or randomness"


def check_headers_stand_alone():
    dpdk = subprocess.run(["pkg-config", "--cflags", "libdpdk"], capture_output=True, text=True).stdout
    flags = ["-std=c++20", f"-I{ROOT}/include", f"-I{ROOT}/src", *shlex.split(dpdk)]

    def compile_alone(path):
        result = subprocess.run(["g++", *flags, "-fsyntax-only", "-x", "c++", str(path)],
                                capture_output=True, text=True)
        return None if result.returncode == 0 else f"{path.relative_to(ROOT)}: not self-contained:\n{result.stderr}"

    with ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(compile_alone, (p for p in sources() if p.suffix == ".h")))


def check_format():
    files = [str(p) for folder in ("include", "src", "tests", "bench")
             for p in sorted((ROOT / folder).rglob("*")) if p.suffix in (".h", ".cpp")]
    result = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], capture_output=True, text=True)
    yield from (line for line in result.stderr.splitlines() if "error:" in line)


def main():
    breaches = [breach for check in (check_arrows, check_headers_stand_alone, check_format) for breach in check()]
    print("\n".join(breaches))
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
