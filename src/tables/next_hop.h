// Next hops: which port, MAC, VLAN and MTU lead to a neighbour. Control writes them from the
// kernel's tables; workers read by index; shards look destinations up when they publish a flow.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>

#include "turnpike/address.h"

namespace turnpike::flow {

enum class NextHopIndex : std::uint32_t {};
inline constexpr NextHopIndex kNoNextHop{0};  // the table's first entry is never used: no route

// 48 bits of MAC in the low bytes (first octet lowest), bit 63: resolved.
using MacWord = std::uint64_t;
inline constexpr MacWord kMacResolved = MacWord{1} << 63;

// A port's own MAC address, as it follows a next hop's on the wire: both are two stores.
class SourceMac {
 public:
  SourceMac() = default;
  explicit SourceMac(const std::array<std::uint8_t, 6>& mac) {
    for (std::size_t i = 0; i < 6; ++i)
      (i < 2 ? low_ : high_) |= std::uint64_t{mac[i]} << 8 * (i < 2 ? i + 6 : i - 2);
  }
  // Both addresses of the frame at `frame`, the receiver's first.
  void write_behind(MacWord receiver, std::uint8_t* frame) const {
    MacWord first = (receiver & 0xFFFF'FFFF'FFFF) | low_;
    auto second = static_cast<std::uint32_t>(high_);
    if constexpr (std::endian::native == std::endian::big) {
      first = __builtin_bswap64(first);
      second = __builtin_bswap32(second);
    }
    std::memcpy(frame, &first, sizeof first);
    std::memcpy(frame + sizeof first, &second, sizeof second);
  }

 private:
  std::uint64_t low_ = 0;   // the first two octets, in the upper 16 bits
  std::uint64_t high_ = 0;  // the others
};

// VLAN tags as they stand on the wire behind the MAC addresses, the outer one first, each with the
// type that announces it (IEEE 802.1Q, 802.1ad).
struct VlanTags {
  std::array<std::uint8_t, 8> bytes{};
  std::uint8_t size = 0;  // 0, 4 or 8
};

// One neighbour. Written by control; read by workers.
struct alignas(64) NextHop {
  std::atomic<MacWord> mac{0};  // control: wo, workers: ro
  std::atomic<std::uint32_t> wanted{
      0};  // workers: 1 when the MAC is missing or in use, control: back to 0
  // Changes after the last entry with this hop's index has ended, and before the index gets another
  // neighbour: who keeps an index for longer than a burst keeps this with it. Control: rw, workers:
  // ro.
  std::atomic<std::uint32_t> generation{0};
  std::uint16_t port = 0;    // index into the port list; set before the index is given out
  std::uint16_t mtu = 1500;  // of IP
  Address gateway;           // the neighbour's address
  VlanTags tags;             // of frames to it; set like the port
};

// What a next hop is for.
struct Journey {
  Address source;  // of ours: rules choose routes by it
  Address destination;
  std::uint32_t allocation = 0;  // whose packets: fair shares are by it
};

// Where the kernel's routes lead to: by a port, to a gateway or to what is on the link itself; to
// this host itself, or to a network behind an interface that is no port, by kernel sockets where
// there are some (kHost), else not; or not at all, as where a default route leads to no port.
enum class Reach : std::uint8_t { kPort, kOnLink, kHost, kElsewhere, kNowhere };

// Opens kernel sockets for peers on this host. A shard's thread.
class HostDoor {
 public:
  virtual ~HostDoor() = default;
  // What they send to the relayed transport address comes to workers from now on, until close(),
  // which is to be called once for each open() that returned true, with the same user. False: the
  // user, by his number, has his share, or none is left.
  virtual bool open(const Endpoint& relayed, std::uint32_t user) = 0;
  virtual void close(const Endpoint& relayed, std::uint32_t user) = 0;
};

struct Arrivals;

// Finds, or makes, the next hop of a journey, from control's mirror of the kernel's routes.
// Thread-safe; no system call.
class NextHopResolver {
 public:
  virtual ~NextHopResolver() = default;
  // Held by the caller until it is released. kNoNextHop: no route, or no room.
  virtual NextHopIndex resolve(const Journey& journey) = 0;
  // To a client whose messages a transport thread has; kNoNextHop: there is none.
  virtual NextHopIndex resolve_stream(const FiveTuple& /*client*/) { return kNoNextHop; }
  // Through which peers get packets by this hop; nullptr: it leads to none of this host.
  virtual HostDoor* host_door(NextHopIndex /*hop*/) { return nullptr; }
  // Without a next hop, and so without a share of anything.
  virtual Reach reach(const Journey& /*journey*/) const { return Reach::kPort; }
  // The caller has unlinked what led workers to it.
  virtual void release(NextHopIndex hop) = 0;
  // Changes whenever a route did: publishers then resolve again.
  virtual std::uint32_t epoch() const = 0;
  // The table, for workers; fixed in size and place.
  virtual NextHop* table() = 0;
  // What may come by which port, by port; nullptr: what Setup says.
  virtual const Arrivals* arrivals() const { return nullptr; }
};

}  // namespace turnpike::flow
