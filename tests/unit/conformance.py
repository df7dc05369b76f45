#!/usr/bin/python3
"""docs/conformance.md names files and tests: each must be there, in the program that is said to run it, and each
row must end in a verdict. Prints every breach; exit status 1 if there is one."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
VERDICTS = ("yes", "partly", "no", "later", "–")
GTEST = re.compile(r"^(?:TEST|TEST_F|TEST_P)\(\s*(\w+),\s*(\w+)\s*\)", re.M)


def unit_tests(program):
    path = TESTS / "unit" / f"{program}_test.cpp"
    return {f"{suite}.{name}" for suite, name in GTEST.findall(path.read_text())} if path.exists() else set()


def is_there(reference):
    """None for what names neither a test nor a file."""
    if found := re.fullmatch(r"unit-(\w+): (\w+\.\w+)", reference):
        return found[2] in unit_tests(found[1])
    if found := re.fullmatch(r"system: (test_\w+\.py)::(test_\w+)", reference):
        path = TESTS / "system" / found[1]
        return path.exists() and re.search(rf"^def {found[2]}\(", path.read_text(), re.M) is not None
    if found := re.fullmatch(r"property: (\w+)", reference):
        return (TESTS / "property" / f"{found[1]}.cpp").exists()
    if found := re.fullmatch(r"fuzz: (\w+)", reference):
        return (TESTS / "fuzz" / f"{found[1]}_fuzz.cpp").exists()
    if reference == "simulation":
        return (TESTS / "simulation" / "simulation.cpp").exists()
    if re.fullmatch(r"[\w/]+\.(h|cpp|py)", reference):
        return (ROOT / "src" / reference).exists() or (ROOT / reference).exists()
    return False if re.match(r"(unit|system|property|fuzz)\W", reference) else None


def breaches(text):
    for number, line in enumerate(text.splitlines(), 1):
        where = f"docs/conformance.md:{number}"
        for reference in re.findall(r"`([^`]+)`", line):
            if is_there(reference) is False:
                yield f"{where}: there is no {reference}"
        cells = [cell.strip() for cell in line.split(" | ")]
        if not line.startswith("|") or cells[0] in ("| §", "| ---"):
            continue
        if len(cells) != 5:
            yield f"{where}: a row has five cells"
            continue
        verdict = re.match(r"[\w–]*", cells[4])[0]
        if verdict not in VERDICTS:
            yield f"{where}: no verdict"
        if verdict == "yes" and not any(is_there(reference) for reference in re.findall(r"`([^`]+)`", cells[3])):
            yield f"{where}: a yes without a test"


def main():
    # A checker that finds nothing wrong anywhere checks nothing.
    planted = list(breaches("| 1 | a | `turn/none.cpp` | `unit-turn: TurnServer.None`, `simulation` | well |"))
    assert len(planted) == 3, planted
    found = list(breaches((ROOT / "docs" / "conformance.md").read_text()))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
