"""An ICE agent (aioice) that tells its description in a line of JSON, reads the other's, and says what it exchanged.

    ice_agent.py controlling|controlled SERVER|- POLICY [udp|tcp|tls]
"""

import asyncio
import json
import struct
import sys

from aioice import Candidate, Connection, TransportPolicy

MESSAGES = 50


async def main(role, server, policy, transport="udp"):
    turn = {"turn_server": (server, 3478), "turn_username": "alice", "turn_password": "secret"} if server != "-" else {}
    if transport == "tls":
        turn |= {"turn_server": (server, 5349), "turn_ssl": True}
    if transport != "udp":
        turn["turn_transport"] = "tcp"
    connection = Connection(
        ice_controlling=role == "controlling", transport_policy=TransportPolicy[policy], use_ipv6=False, **turn
    )
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
    for i in range(MESSAGES):
        message = struct.pack("!BBHQ", 0x80, 0x60, i, i) + bytes(i)  # RTP, by its first bytes
        if role == "controlling":
            await connection.send(message)
            echoed += await asyncio.wait_for(connection.recv(), 5) == message
        else:
            await connection.send(await asyncio.wait_for(connection.recv(), 5))
            echoed += 1
    await asyncio.sleep(0.2)
    await connection.close()
    print(json.dumps({"echoed": echoed}), flush=True)


asyncio.run(main(*sys.argv[1:]))
