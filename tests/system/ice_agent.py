"""An ICE agent (aioice) that tells its description in a line of JSON, reads the other's, and says what it exchanged and
by which pair of candidates: [[local type, address], [remote type, address]].

    ice_agent.py controlling|controlled SERVER|- POLICY [--transport udp|tcp|tls] [--reflexive] [--ipv4 yes|no]
                 [--ipv6 yes|no] [--patience SECONDS]

aioice takes the first pair that works, which by a relay is soon. With patience, that is how long it tries to do
without one.
"""

import argparse
import asyncio
import json
import struct
import sys
import time

from aioice import Candidate, Connection, TransportPolicy
from aioice.ice import CandidatePair

MESSAGES = 50


class Agent(Connection):
    patience_s = 0

    async def connect(self):
        self.relays_from = time.monotonic() + self.patience_s
        await super().connect()

    async def check_start(self, pair):
        if "relay" in (pair.local_candidate.type, pair.remote_candidate.type):
            self.check_state(pair, CandidatePair.State.IN_PROGRESS)  # or it would be started again
            await asyncio.sleep(self.relays_from - time.monotonic())
        await super().check_start(pair)

    def pair(self):
        ends = (self._nominated[1].local_candidate, self._nominated[1].remote_candidate)
        return [[end.type, end.host] for end in ends]


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("controlling", "controlled"))
    parser.add_argument("server")
    parser.add_argument("policy", choices=("ALL", "RELAY"))
    parser.add_argument("--transport", choices=("udp", "tcp", "tls"), default="udp")
    parser.add_argument("--reflexive", action="store_true")
    parser.add_argument("--ipv4", choices=("yes", "no"), default="yes")
    parser.add_argument("--ipv6", choices=("yes", "no"), default="no")
    parser.add_argument("--patience", type=float, default=0)
    return parser.parse_args()


async def main(given):
    servers = {}
    if given.server != "-":
        servers = {"turn_server": (given.server, 3478), "turn_username": "alice", "turn_password": "secret"}
    if given.transport == "tls":
        servers |= {"turn_server": (given.server, 5349), "turn_ssl": True}
    if given.transport != "udp":
        servers["turn_transport"] = "tcp"
    if given.reflexive:
        servers["stun_server"] = (given.server, 3478)
    connection = Agent(
        ice_controlling=given.role == "controlling",
        transport_policy=TransportPolicy[given.policy],
        use_ipv4=given.ipv4 == "yes",
        use_ipv6=given.ipv6 == "yes",
        **servers,
    )
    connection.patience_s = given.patience
    await connection.gather_candidates()
    print(
        json.dumps(
            {
                "user": connection.local_username,
                "password": connection.local_password,
                "candidates": [candidate.to_sdp() for candidate in connection.local_candidates],
            }
        ),
        flush=True,
    )
    other = json.loads(await asyncio.get_event_loop().run_in_executor(None, sys.stdin.readline))
    connection.remote_username, connection.remote_password = other["user"], other["password"]
    for candidate in other["candidates"]:
        await connection.add_remote_candidate(Candidate.from_sdp(candidate))
    await connection.add_remote_candidate(None)
    await connection.connect()
    echoed = 0
    # The other may be connected later than this one, by as much as lies between two of its tries.
    seconds = 5 + given.patience
    for i in range(MESSAGES):
        message = struct.pack("!BBHQ", 0x80, 0x60, i, i) + bytes(i)  # RTP, by its first bytes
        if given.role == "controlling":
            await connection.send(message)
            echoed += await asyncio.wait_for(connection.recv(), seconds) == message
        else:
            await connection.send(await asyncio.wait_for(connection.recv(), seconds))
            echoed += 1
    pair = connection.pair()
    await asyncio.sleep(0.2)
    await connection.close()
    print(json.dumps({"echoed": echoed, "pair": pair}), flush=True)


asyncio.run(main(options()))
