"""TURN media for TRex (STL), from the flows that `turnpike-pktgen --setup-only FILE` has set up.

    trex> start -f trex_turn.py -p 0 1 -d 60 -t --flows FILE --pps 100000

Port 0 (direction 0) plays the clients, port 1 the peers. A stream for each flow, each sending its share of --pps; TRex
itself takes some 20,000 streams (--most). Permissions end 300 s and channels 600 s after the set-up, so start at once.
"""

import argparse
import json

from trex_stl_lib.api import STLPktBuilder, STLStream, STLTXCont


class TurnFlows:
    def get_streams(self, direction=0, tunables=(), **_):
        parser = argparse.ArgumentParser(prog="trex_turn.py")
        parser.add_argument("--flows", required=True, help="what turnpike-pktgen --setup-only wrote")
        parser.add_argument("--pps", type=float, default=1000, help="packets a second of each port")
        parser.add_argument("--most", type=int, default=20000, help="use no more flows than these")
        options = parser.parse_args(list(tunables))
        side = "client" if direction == 0 else "peer"
        with open(options.flows, encoding="ascii") as lines:
            next(lines)  # about the links
            flows = [json.loads(line) for _, line in zip(range(options.most), lines)]
        return [
            STLStream(
                packet=STLPktBuilder(pkt_buffer=self.frame(flow, side)), mode=STLTXCont(pps=options.pps / len(flows))
            )
            for flow in flows
        ]

    @staticmethod
    def frame(flow, side):
        """The checksums in the head are those of a payload of zeros."""
        return bytes.fromhex(flow[side + "_head"]).ljust(flow[side + "_size"], b"\0")


def register():
    return TurnFlows()
