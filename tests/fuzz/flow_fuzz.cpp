// Any frame at the pipeline: first as it is, in a buffer of exactly its size; then, so that what
// lies behind addresses, ports and checksums is reached too, its bytes as the UDP payload of a
// client or a peer that is known.
//
// Besides not crashing: every packet gets a verdict, and what is to leave lies within its buffer
// and is a sound IP packet with right checksums wherever the one that came was.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "flow_world.h"

namespace {

using namespace turnpike;
using namespace turnpike::flow;
using namespace turnpike::flow::test;

void require(bool condition) {
  if (!condition) std::abort();
}

// With our own ICMP errors, whose checksum read() doesn't know.
bool is_icmp(const Packet& packet) {
  const std::uint8_t* ip = packet.data + 14;
  return get16(packet.data + 12) == 0x0800 ? ip[9] == 1 : ip[6] == 58;
}

void judge(const Packet& packet, std::span<const std::uint8_t> buffer, bool sum_is_right) {
  require(packet.verdict != Verdict::kContinue);
  require((packet.verdict == Verdict::kDrop) <= (packet.drop != Drop::kNone));
  require(packet.data >= buffer.data());
  require(packet.data + packet.length <= buffer.data() + buffer.size());
  const bool leaves =
      packet.verdict == Verdict::kTransmit || packet.verdict == Verdict::kTransmitBack;
  if (leaves && sum_is_right && !is_icmp(packet)) require(read(packet).has_value());
  if (packet.verdict != Verdict::kTransmit) return;
  require(packet.next_hop != kNoNextHop);
  require(packet.headroom == packet.data - buffer.data());
  require(packet.headroom + packet.length + packet.tailroom == buffer.size());
}

// `room` before and behind; 0: nothing may be read or written beyond the frame.
void run(FlowWorld& world, std::span<const std::uint8_t> frame, std::uint16_t room,
         bool reassembled, bool sum_is_right) {
  std::vector<std::uint8_t> buffer;
  Packet packet = arrived(buffer, frame, room);
  packet.checksum = reassembled ? Checksum::kMaybePartial : Checksum::kVerify;
  packet.reassembled = reassembled;
  world.pipeline_->process(world.now_, {&packet, 1});
  judge(packet, buffer, sum_is_right);
}

// The listeners that do Binding alone have a second address and port.
void discover(FlowWorld& world) {
  for (Listener& listener : world.setup_.listeners) {
    if (listener.endpoint.port != kStunOnlyPort) continue;
    const bool v4 = listener.endpoint.address.family == Family::kIpv4;
    listener.discovery.emplace();
    for (const Origin origin : {Origin{0}, kChangePort, kChangeAddress, kChangeBoth}) {
      Endpoint place = listener.endpoint;
      if ((origin & kChangeAddress) != 0) place.address = v4 ? kRelay4 : kRelay6;
      if ((origin & kChangePort) != 0) ++place.port;
      listener.discovery->origins[origin] = {place, place};
    }
  }
}

struct Worlds {
  FlowWorld client4{Family::kIpv4, true, Address::v4(203, 0, 113, 200)};
  FlowWorld client6{Family::kIpv6, false};
  Worlds() {
    for (FlowWorld* world : {&client4, &client6}) {
      // A hairpin: both of our allocations may reach the other.
      const AllocationSlot other = world->add({{kClient4, 40001}}, 50002, 50003);
      for (const AllocationSlot allocation : {world->allocation_, other}) {
        for (const RelayedAddress& relayed : world->setup_.relayed)
          world->writer_->publish_permission(
              {allocation, relayed.public_address(), FlowWorld::kExpires});
      }
      discover(*world);
    }
  }
};

Datagram from(const Endpoint& source, const Endpoint& destination,
              std::span<const std::uint8_t> payload) {
  Datagram datagram;
  datagram.source = source;
  datagram.destination = destination;
  datagram.payload.assign(payload.begin(), payload.end());
  return datagram;
}

// The bytes are an ICMP message to the relayed address, with their checksum put right.
std::vector<std::uint8_t> icmp_frame(Family family, std::span<const std::uint8_t> bytes) {
  const bool v4 = family == Family::kIpv4;
  auto frame = frame_of(from({v4 ? kPeer4 : kPeer6, 0}, {v4 ? kRelay4 : kRelay6, 0}, bytes));
  std::uint8_t* ip = frame.data() + 14;
  const std::size_t header = v4 ? 20 : 40;
  const std::size_t size = bytes.size();
  frame.erase(frame.begin() + static_cast<std::ptrdiff_t>(14 + header),
              frame.begin() + static_cast<std::ptrdiff_t>(14 + header + 8));
  std::uint32_t sum = 0;
  if (v4) {
    ip[9] = 1;
    put16(ip + 2, static_cast<std::uint16_t>(20 + size));
    put16(ip + 10, 0);
    put16(ip + 10, static_cast<std::uint16_t>(~plain_sum(ip, 20)));
  } else {
    ip[6] = 58;
    put16(ip + 4, static_cast<std::uint16_t>(size));
    sum = plain_sum(ip + 8, 32) + 58 + static_cast<std::uint32_t>(size);
  }
  if (size < 4) return frame;
  put16(ip + header + 2, 0);
  sum += plain_sum(ip + header, size);
  put16(ip + header + 2, static_cast<std::uint16_t>(~fold_plain(sum)));
  return frame;
}

void as_payload(FlowWorld& world, std::span<const std::uint8_t> bytes, bool reassembled) {
  constexpr std::uint16_t kRoom = 128;
  const std::vector<std::vector<std::uint8_t>> frames{
      frame_of(from(world.client_, world.server_, bytes)),
      frame_of(from(world.client_, {world.server_.address, kStunOnlyPort}, bytes)),
      frame_of(from({kPeer4, kPeerPort}, {kRelay4, kRelayPort4}, bytes)),
      frame_of(from({kPeer6, kPeerPort}, {kRelay6, kRelayPort6}, bytes)),
      icmp_frame(Family::kIpv4, bytes),
      icmp_frame(Family::kIpv6, bytes),
  };
  for (const auto& frame : frames) {
    run(world, frame, kRoom, reassembled, true);
    run(world, frame, 0, reassembled, true);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Worlds worlds;
  if (size == 0 || size > 65000) return 0;
  const bool reassembled = (data[0] & 1) != 0;
  FlowWorld& world = (data[0] & 2) != 0 ? worlds.client4 : worlds.client6;
  const std::span<const std::uint8_t> bytes(data + 1, size - 1);
  run(world, bytes, 0, reassembled, false);
  run(world, bytes, 128, reassembled, false);
  as_payload(world, bytes, reassembled);
  return 0;
}
