"""Whole ICE agents (aioice and libnice) that can meet through the relay alone: gathering, connectivity checks, data.
Payload rules that let calls pass let them pass."""

import json
import subprocess
from pathlib import Path

import pytest

from call_rules import nothing_is_refused, strict_rules

AGENT = Path(__file__).with_name("ice_agent.py")
NICE_AGENT = Path(__file__).with_name("nice_ice_agent.py")
PYTHON = "/usr/bin/python3"  # whose aioice is Debian's


class Agent:
    def __init__(self, host, *words, program=AGENT):
        self.process = host.start(
            PYTHON, program, *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def line(self):
        text = self.process.stdout.readline()
        assert text, self.process.stderr.read()
        return json.loads(text)

    def tell(self, description):
        self.process.stdin.write(json.dumps(description) + "\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module", params=[False, True], ids=["no-rules", "strict-rules"])
def relay(request, lab, tmp_path_factory):
    relay = lab.start_relay(*(strict_rules(tmp_path_factory.mktemp("ice")) if request.param else ()))
    yield relay
    if request.param:
        assert nothing_is_refused(relay)["rtp"] > 0
    assert relay.stop() == 0, relay.output()


def meet(a, b, leave=False):
    try:
        first, second = a.line(), b.line()
        b.tell(first)
        a.tell(second)
        assert [one.line()["echoed"] for one in (a, b)] == [50, 50]
        for one in (a, b) if leave else ():
            assert one.process.wait(20) == 0, one.process.stderr.read()
        return first, second
    finally:
        a.end()
        b.end()


def test_one_agent_behind_the_relay(lab, relay):
    described, _ = meet(
        Agent(lab.client, "controlling", lab.SERVER4, "RELAY"), Agent(lab.peer, "controlled", "-", "ALL")
    )
    assert all("typ relay" in candidate for candidate in described["candidates"]), described


def test_both_agents_behind_the_relay(lab, relay):
    meet(Agent(lab.client, "controlling", lab.SERVER4, "RELAY"), Agent(lab.peer, "controlled", lab.SERVER4, "RELAY"))


def test_libnice_behind_the_relay(lab, relay):
    """It gives its allocation back as well."""
    before = relay.total("turnpike_allocations")
    nice = Agent(lab.client, lab.CLIENT4, lab.SERVER4, 50, "RELAY", program=NICE_AGENT)
    _, described = meet(Agent(lab.peer, "controlling", "-", "ALL"), nice, leave=True)
    assert described["candidates"] and all("typ relay" in one for one in described["candidates"]), described
    assert relay.total("turnpike_allocations") <= before
