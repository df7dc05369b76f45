// One frame on its way through a worker's burst: where its bytes are, what has been found out about
// it, and what is to become of it. Independent of DPDK, so that tests and fuzzers drive the same
// code as workers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "flow/drop.h"
#include "tables/next_hop.h"
#include "tables/path_mtu.h"
#include "turnpike/address.h"
#include "turnpike/flow_sink.h"
#include "turnpike/listener.h"

namespace turnpike::flow {

struct MoveEntry;

// Where a packet goes after the stage that set it.
enum class Verdict : std::uint8_t {
  kContinue,      // not decided yet: the next stage's
  kTransmit,      // data/length are the outgoing frame but for its Ethernet header (see next_hop)
  kTransmitBack,  // likewise, but Ethernet addresses are already swapped: out of the port it came
                  // from
  kEngine,        // STUN request for shard `shard`; the frame is untouched
  kSession,       // bytes of DTLS for the thread that has its keys; the frame is untouched
  kKernel,        // not ours: exception path (or dropped where the kernel sees the frame itself)
  kReassemble,    // fragment for us
  kWait,          // a drop, unless the answer to a request of its five-tuple opens a way for it
  kDrop,          // reason in `drop`
};

enum class Lane : std::uint8_t {
  kNone,
  kChannelData,  // from a client, 0x40–0x7F
  kSend,         // Send indication from a client
  kPeer,         // UDP to a relayed address
  kRequest,      // STUN request to a listener
  kIcmp,         // ICMP error that may quote a packet to a peer
  kTooBig,       // ICMP "too big" that may quote a packet to a client
  kSession,      // a datagram of DTLS to a listener
};

enum class Checksum : std::uint8_t {
  kVerify,        // nobody has looked
  kGood,          // the device has
  kMaybePartial,  // a local veth's: equal to the folded pseudo-header sum means "not computed"
};

// One cache line for what all stages share; behind it what only the general stages need, which
// nobody has set before classify does.
struct alignas(64) Packet {
  Packet() {}  // NOLINT(modernize-use-equals-default): leaves the endpoints as they are

  // Set by the caller. `data` is the first byte of Ethernet; the frame is contiguous.
  std::uint8_t* data = nullptr;
  void* cookie = nullptr;  // the caller's: the mbuf
  std::uint32_t length = 0;
  std::uint16_t headroom = 0;
  std::uint16_t tailroom = 0;
  std::uint16_t port = 0;  // ingress port's index
  Checksum checksum = Checksum::kVerify;
  bool reassembled = false;    // was fragments: may be fragmented again
  std::uint8_t tag_bytes = 0;  // of VLAN tags that were taken off before `data`

  // classify
  bool opens_way = false;  // request of an allocation; its answer may let data pass
  Verdict verdict = Verdict::kContinue;
  Drop drop = Drop::kNone;
  Lane lane = Lane::kNone;
  bool hairpin = false;  // joined the peers' lane once
  Family family = Family::kIpv4;
  bool may_fragment = true;  // rewrite: DF is clear (v4): the transmit stage may cut it to the MTU
  std::uint8_t l3 = 0;       // offsets from data
  bool dont_fragment = false;   // Send with DONT-FRAGMENT
  bool has_allocation = false;  // look up: and `allocation`, `shard`, `channel`
  std::uint8_t shard = 0;
  std::uint16_t l4 = 0;
  // Look up: of the path, as ICMP has told; of lanes kIcmp and kTooBig, as this error tells.
  // Rewrite: what the transmit stage may cut the packet to, besides the link's.
  std::uint16_t path_mtu = PathMtu::kNone;
  NextHopIndex next_hop = kNoNextHop;  // look up
  std::uint16_t payload = 0;           // of UDP
  std::uint16_t payload_size = 0;
  ListenerIndex listener = 0;  // lanes from clients
  // The application's bytes within the payload: what remains when TURN's framing is off. Of a
  // request: its RESERVATION-TOKEN or, of a Refresh, its MOBILITY-TICKET, if it has one.
  std::uint16_t body = 0;  // offset from data
  std::uint16_t body_size = 0;
  ChannelNumber channel = 0;  // lane kPeer: 0 means a Data indication
  AllocationSlot allocation{};

  // classify
  union {
    Endpoint source;  // of UDP; of a hairpin, our own public address
  };
  union {
    Endpoint destination;
  };
  union {
    Endpoint peer;  // where the body goes, or came from
  };
  // look up, of what is relayed: of the permission or channel that lets it pass
  std::atomic<std::uint64_t>* payload_verdict;
  union {
    RelayEndpoint relayed;   // client lanes: what the peer sees
    const MoveEntry* moved;  // to clients: where this one is, if its allocation doesn't say it yet
  };
};
static_assert(offsetof(Packet, source) == 64);

inline void drop(Packet& packet, Drop reason) {
  packet.verdict = Verdict::kDrop;
  packet.drop = reason;
}

}  // namespace turnpike::flow
