#!/usr/bin/python3
"""The rules of the house that a compiler doesn't keep: which room may include which, that each header stands
alone, that each file is one idea and opens with it, that the code is formatted. Prints every breach; exit status 1
if there is one."""

import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Longer than this, a file is more than one idea.
MOST_LINES = 500
# Rooms in which nothing may touch DPDK, a socket, a clock or a random source.
PURE = {"include", "base", "wire", "turn"}
IMPURE = re.compile(
    r"#include <(rte_|sys/socket|random|chrono|ctime|time\.h|unistd)|\b(getrandom|RAND_bytes|clock_gettime)\b"
)


def room_of(path):
    parts = path.relative_to(ROOT).parts
    if parts[0] in ("include", "examples"):
        return parts[0]
    return "main" if len(parts) == 2 else parts[1]


def sources(*folders):
    for folder in folders or ("include", "src", "examples"):
        yield from (p for p in sorted((ROOT / folder).rglob("*")) if p.suffix in (".h", ".cpp"))


def scripts(language):
    """By name, or by the program that their first line names."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True).stdout
    names = listed.split("\0") if listed else [str(p.relative_to(ROOT)) for p in walk(ROOT)]
    for path in (ROOT / name for name in sorted(names) if name):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            first = file.readline(80)
        if path.suffix == {"python": ".py", "sh": ".sh"}[language] or re.match(
            rb"#!.*\b(ba)?" + language.encode(), first
        ):
            yield path


def walk(folder):
    """All files of an unpacked archive, but for what was built or is hidden."""
    for path in folder.iterdir():
        if path.name.startswith((".", "build")):
            continue
        yield from walk(path) if path.is_dir() else [path]


def rooms_of(page):
    """Which rooms each may include besides itself and the public headers, by the table of docs/architecture.md."""
    rows = re.findall(r"^\| `(?:\w+/)*?(\w+)/` \| [^|]* \| ?([^|]*?) ?\|$", page, re.M)
    rooms = {("include" if room == "turnpike" else room): set(may.split()) for room, may in rows}
    for room, may in rooms.items():
        if may == set("all of these".split()):
            rooms[room] = set(rooms) - {room, "include"}
    return {**rooms, "main": {"config", "control"}}


def check_arrows():
    may_include = rooms_of((ROOT / "docs" / "architecture.md").read_text())
    for path in sources():
        room = room_of(path)
        if room not in may_include:
            yield f"{path.relative_to(ROOT)}: docs/architecture.md has no room {room}"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(ROOT)}:{number}"
            if found := re.match(r'#include "([a-z_]+)/', line):
                target = found[1]
                if target not in {"turnpike", room} | may_include[room]:
                    yield f"{where}: {room} must not include {target}"
            if room in PURE and IMPURE.search(line):
                yield f"{where}: {room} must not touch DPDK, sockets, clocks or randomness"
    yield from (f"docs/architecture.md: rooms include each other in a circle: {c}" for c in circles(may_include))


def circles(arrows):
    """Every way that comes back to where it began, once."""
    done, found = set(), []

    def follow(one, way):
        if one in way:
            found.append(" → ".join([*way[way.index(one) :], one]))
        elif one not in done:
            for other in sorted(arrows.get(one, ())):
                follow(other, [*way, one])
            done.add(one)

    for one in sorted(arrows):
        follow(one, [])
    return found


def check_headers_go_one_way():
    headers = {
        str(p.relative_to(ROOT / folder)): set(re.findall(r'^#include "([\w/]+\.h)"', p.read_text(), re.M))
        for folder in ("include", "src")
        for p in sorted((ROOT / folder).rglob("*.h"))
    }
    yield from (f"headers include each other in a circle: {circle}" for circle in circles(headers))


def check_files():
    folders = ("include", "src", "tests", "bench")
    python = (p for p in scripts("python") if p.relative_to(ROOT).parts[0] in folders)
    for path in [*sources(*folders), *python]:
        name = str(path.relative_to(ROOT))
        text = path.read_text()
        if not re.match(r'//|(#!.*\n)?("""|# )', text):
            yield f"{name}: does not open with a comment that says why it is there"
        lines = text.count("\n")
        if lines > MOST_LINES:
            yield f"{name}: {lines} lines: more than {MOST_LINES}"


def included_before_all_else():
    """Headers that a source opens with: where it compiles, they stand alone."""
    for path in sources():
        first = re.search(r"^#include (.*)$", path.read_text(), re.M) if path.suffix == ".cpp" else None
        if first and first[1].startswith('"'):
            yield from (folder / first[1].strip('"') for folder in (ROOT / "src", ROOT / "include"))


def check_headers_stand_alone():
    known = set(included_before_all_else())
    others = (path for path in sources() if path.suffix == ".h" and path not in known)
    dpdk = subprocess.run(["pkg-config", "--cflags", "libdpdk"], capture_output=True, text=True).stdout
    flags = ["-std=c++20", f"-I{ROOT}/include", f"-I{ROOT}/src", *shlex.split(dpdk)]

    def compile_alone(path):
        result = subprocess.run(
            ["g++", *flags, "-fsyntax-only", "-x", "c++", str(path)], capture_output=True, text=True
        )
        return None if result.returncode == 0 else f"{path.relative_to(ROOT)}: not self-contained:\n{result.stderr}"

    with ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(compile_alone, others))


def check_format():
    files = [str(p) for p in sources("include", "src", "tests", "bench")]
    result = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], capture_output=True, text=True)
    yield from (line for line in result.stderr.splitlines() if "error:" in line)


def check_python():
    result = subprocess.run(
        ["black", "--check", "--quiet", "--diff", *map(str, scripts("python"))], capture_output=True, text=True
    )
    yield from re.findall(r"^--- (.*?)\t", result.stdout, re.M)
    yield from result.stderr.splitlines()


def check_shell():
    result = subprocess.run(
        ["shellcheck", "--external-sources", "--source-path=SCRIPTDIR", "--format=gcc", *map(str, scripts("sh"))],
        capture_output=True,
        text=True,
    )
    yield from result.stdout.splitlines() + result.stderr.splitlines()


def main():
    # A checker that finds nothing wrong anywhere checks nothing.
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a → b → c → a"]
    assert rooms_of("| `top/` | over | low |\n| `low/` | under | |\n")["top"] == {"low"}
    checks = (
        check_arrows,
        check_headers_go_one_way,
        check_files,
        check_shell,
        check_python,
        check_format,
        check_headers_stand_alone,
    )
    breaches = [breach for check in checks for breach in check()]
    print("\n".join(breaches))
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
