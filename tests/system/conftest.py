"""What tests of the whole program are given: a network of their own, with or without an owned port; and tables that are
printed when all have run."""

import os

import pytest

from lab import Lab, OwnedLab


def pytest_collection_modifyitems(config, items):
    asked_for = bool(os.environ.get("TURNPIKE_LONG"))
    left_out = ["long"] if "TURNPIKE_DRIVER" in os.environ else ["long", "twice"]
    others = [one for one in items if any(map(one.get_closest_marker, left_out)) != asked_for]
    config.hook.pytest_deselected(items=others)
    items[:] = [one for one in items if one not in others]


@pytest.fixture(scope="module")
def lab():
    """One network for the tests of a module."""
    network = Lab()
    yield network
    network.close()


@pytest.fixture
def fresh_lab():
    """A network of its own for a test that disturbs it."""
    network = Lab()
    yield network
    network.close()


@pytest.fixture
def owned_lab():
    """A network whose relay owns its ports."""
    network = OwnedLab()
    yield network
    network.close()


class Table:
    """Cells by row and column, in the order in which they come."""

    def __init__(self):
        self.rows = {}

    def cell(self, row, column, text):
        self.rows.setdefault(row, {})[column] = text

    def lines(self):
        columns = list(dict.fromkeys(column for cells in self.rows.values() for column in cells))
        grid = [["", *columns]]
        grid += [[row, *(cells.get(column, "") for column in columns)] for row, cells in self.rows.items()]
        widths = [max(map(len, words)) for words in zip(*grid)]
        return ["  ".join(word.ljust(width) for word, width in zip(words, widths)).rstrip() for words in grid]


TABLES = pytest.StashKey()


def pytest_configure(config):
    config.stash[TABLES] = {}


@pytest.fixture
def table(request):
    """table(TITLE): one that is printed after the last test, whatever the outcome."""
    return lambda title: request.config.stash[TABLES].setdefault(title, Table())


def pytest_terminal_summary(terminalreporter, config):
    for title, one in config.stash[TABLES].items():
        terminalreporter.section(title)
        for line in one.lines():
            terminalreporter.write_line(line)
