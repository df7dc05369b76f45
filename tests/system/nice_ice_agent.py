"""libnice as an ICE agent. It speaks with a test as ice_agent.py does: tells its description in a line of JSON, reads the
other's, answers what it is sent with the same, and says how much that was and by which pair of candidates.

    nice_ice_agent.py LOCAL SERVER MESSAGES RELAY|ALL

RELAY: it can be reached through its relay alone.
"""

import ctypes
import json
import sys

import gi

gi.require_version("Nice", "0.1")
from gi.repository import GLib, Nice  # noqa: E402

# Its function for what arrives can't be used from Python's bindings: they don't know the buffer's length.
RECEIVED = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p
)
LIBNICE = ctypes.CDLL("libnice.so.10")
LIBNICE.nice_agent_attach_recv.argtypes = [
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_uint,
    ctypes.c_void_p,
    RECEIVED,
    ctypes.c_void_p,
]
NAMES = {"server_reflexive": "srflx", "peer_reflexive": "prflx", "relayed": "relay"}
LIBNICE.nice_agent_send.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.c_char_p]


def tell(what):
    print(json.dumps(what), flush=True)


def end(candidate):
    kind = candidate.type.value_nick
    return [NAMES.get(kind, kind), candidate.addr.dup_string()]


def main():
    local, server, messages, policy = sys.argv[1:]
    context = GLib.MainContext.default()
    agent = Nice.Agent.new(context, Nice.Compatibility.RFC5245)
    properties = {"upnp": False, "ice-tcp": False, "controlling-mode": False}
    if policy == "RELAY":
        properties["force-relay"] = True
    else:
        properties |= {"stun-server": server, "stun-server-port": 3478}
    for name, value in properties.items():
        agent.set_property(name, value)
    address = Nice.Address()
    assert address.set_from_string(local)
    agent.add_local_address(address)
    stream, pointer = agent.add_stream(1), hash(agent)
    assert agent.set_relay_info(stream, 1, server, 3478, "alice", "secret", Nice.RelayType.UDP)
    loop = GLib.MainLoop.new(context, False)
    echoed, pair = 0, None
    early = []  # what came before there was a way back

    def echo(data):
        nonlocal echoed
        LIBNICE.nice_agent_send(pointer, stream, 1, len(data), data)
        echoed += 1
        if echoed == int(messages):
            tell({"echoed": echoed, "pair": pair})
            GLib.timeout_add(200, loop.quit)

    def selected(_agent, _stream, _component, *ends):
        nonlocal pair
        pair = [end(one) for one in ends]
        while early:
            echo(early.pop(0))

    agent.connect("new-selected-pair-full", selected)

    def received(_agent, _stream, _component, size, data, _user):
        data = ctypes.string_at(data, size)
        echo(data) if pair else early.append(data)

    callback = RECEIVED(received)
    LIBNICE.nice_agent_attach_recv(pointer, stream, 1, None, callback, None)

    def gathered(*_):
        _, user, password = agent.get_local_credentials(stream)
        tell(
            {
                "user": user,
                "password": password,
                "candidates": [
                    agent.generate_local_candidate_sdp(one).split("candidate:")[1]
                    for one in agent.get_local_candidates(stream, 1)
                ],
            }
        )
        other = json.loads(sys.stdin.readline())
        agent.set_remote_credentials(stream, other["user"], other["password"])
        agent.set_remote_candidates(
            stream, 1, [agent.parse_remote_candidate_sdp(stream, f"a=candidate:{text}") for text in other["candidates"]]
        )

    agent.connect("candidate-gathering-done", gathered)
    assert agent.gather_candidates(stream)
    loop.run()
    agent.remove_stream(stream)  # whose allocation is given back
    GLib.timeout_add(300, loop.quit)
    loop.run()


main()
