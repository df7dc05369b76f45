"""libnice as an ICE agent that can be reached through its relay alone. It speaks with a test as ice_agent.py does: tells
its description in a line of JSON, reads the other's, answers what it is sent with the same, and says how much that was.

    nice_ice_agent.py LOCAL SERVER MESSAGES
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
LIBNICE.nice_agent_send.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.c_char_p]


def tell(what):
    print(json.dumps(what), flush=True)


def main():
    local, server, messages = sys.argv[1:]
    context = GLib.MainContext.default()
    agent = Nice.Agent.new(context, Nice.Compatibility.RFC5245)
    for name, value in (("upnp", False), ("ice-tcp", False), ("force-relay", True), ("controlling-mode", False)):
        agent.set_property(name, value)
    address = Nice.Address()
    assert address.set_from_string(local)
    agent.add_local_address(address)
    stream, pointer = agent.add_stream(1), hash(agent)
    assert agent.set_relay_info(stream, 1, server, 3478, "alice", "secret", Nice.RelayType.UDP)
    loop = GLib.MainLoop.new(context, False)
    echoed = 0

    def received(_agent, _stream, _component, size, data, _user):
        nonlocal echoed
        LIBNICE.nice_agent_send(pointer, stream, 1, size, ctypes.string_at(data, size))
        echoed += 1
        if echoed == int(messages):
            tell({"echoed": echoed})
            GLib.timeout_add(200, loop.quit)

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
