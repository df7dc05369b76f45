"""libnice gathers candidates on one address with a STUN server, and says what it found and how long it took.

    nice_agent.py LOCAL SERVER PORT  →  "0.013 host 192.0.2.1:40000 server_reflexive 203.0.113.1:40000"
"""

import sys
import time

import gi

gi.require_version("Nice", "0.1")
from gi.repository import GLib, Nice  # noqa: E402


def main():
    local, server, port = sys.argv[1:]
    context = GLib.MainContext.default()
    agent = Nice.Agent.new(context, Nice.Compatibility.RFC5245)
    for name, value in (("upnp", False), ("ice-tcp", False), ("stun-server", server), ("stun-server-port", int(port))):
        agent.set_property(name, value)
    address = Nice.Address()
    assert address.set_from_string(local)
    agent.add_local_address(address)
    stream = agent.add_stream(1)
    loop = GLib.MainLoop.new(context, False)
    agent.connect("candidate-gathering-done", lambda *_: loop.quit())

    def read():  # what nobody receives from isn't read, STUN neither
        try:
            agent.recv_nonblocking(stream, 1, None)
        except GLib.Error:
            pass  # nothing there
        return True

    GLib.timeout_add(2, read)
    begin = time.monotonic()
    assert agent.gather_candidates(stream)
    loop.run()
    words = [f"{time.monotonic() - begin:.3f}"]
    for candidate in agent.get_local_candidates(stream, 1):
        kind = candidate.type.value_nick
        words += [kind, f"{candidate.addr.dup_string()}:{candidate.addr.get_port()}"]
    print(*words)


main()
