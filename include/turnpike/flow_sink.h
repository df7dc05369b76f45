// Where the TURN server and the data plane meet: plain structs that say what a worker must know to
// relay an allocation's packets, and the sink that takes them. Neither side knows the other.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "turnpike/address.h"
#include "turnpike/time.h"

namespace turnpike {

// Names a published allocation, permission or channel. Comes from the sink; plain numbers, so that
// engine state holds no pointers.
enum class AllocationSlot : std::uint32_t {};
enum class PermissionSlot : std::uint32_t {};
enum class ChannelSlot : std::uint32_t {};

using ChannelNumber = std::uint16_t;

struct AllocationFlow {
  FiveTuple five_tuple;
  // By family_index(). At least one is there, but for an allocation of TCP's (RFC 6062), for which
  // workers relay nothing. Each lives by itself: a Refresh can name one family (RFC 8656 §7.3).
  std::array<std::optional<RelayEndpoint>, 2> relayed;
  std::array<std::uint32_t, 2> expires_s{};
  std::uint32_t user = 0;  // the number of its owner, while he has anything (QuotaLedger)
};

// An address, not an endpoint: permissions ignore the port (RFC 8656 §2).
struct PermissionFlow {
  AllocationSlot allocation{};
  Address peer;  // the public address, where the peer is one of this node's relayed addresses
  std::uint32_t expires_s = 0;
};

struct ChannelFlow {
  AllocationSlot allocation{};
  PermissionSlot permission{};  // of the same peer's address; outlives the channel's slot
  ChannelNumber number = 0;
  PeerEndpoint peer;
  std::uint32_t expires_s = 0;
};

// Where an allocation's client comes to it from besides (RFC 8016).
struct MoveFlow {
  AllocationSlot allocation{};
  FiveTuple five_tuple;
  std::uint16_t number = 0;  // tells this move of the allocation's from those before; not 0
};

// Takes what a server publishes. One sink belongs to one shard and is called by its thread alone.
// A publish_… returns after the flow is visible to every reader; a withdraw_… returns after no
// reader can find it any more (one that has found it before may still use it for the length of a
// burst). The memory behind a withdrawn slot comes back after a grace period, unseen from here.
// publish_… returns nullopt when the sink is full, or lacked_socket(); nothing has changed then.
class FlowSink {
 public:
  virtual ~FlowSink() = default;

  virtual std::optional<AllocationSlot> publish_allocation(const AllocationFlow& flow) = 0;
  virtual std::optional<PermissionSlot> publish_permission(const PermissionFlow& flow) = 0;
  virtual std::optional<ChannelSlot> publish_channel(const ChannelFlow& flow) = 0;
  // After a publish_permission() that returned nullopt: it was for want of a kernel socket, which
  // peers on the relay's own host need, not of room.
  virtual bool lacked_socket() const { return false; }

  // In place: readers see the new expiry at once.
  virtual void extend_relayed(AllocationSlot slot, Family family, std::uint32_t expires_s) = 0;
  virtual void extend_permission(PermissionSlot slot, std::uint32_t expires_s) = 0;
  virtual void extend_channel(ChannelSlot slot, std::uint32_t expires_s) = 0;

  // One relayed address of a dual allocation ends; the other stays.
  virtual void withdraw_relayed(AllocationSlot slot, Family family) = 0;
  // Channels and permissions are withdrawn before their allocation, channels before permissions.
  virtual void withdraw_channel(ChannelSlot slot) = 0;
  virtual void withdraw_permission(PermissionSlot slot) = 0;
  virtual void withdraw_allocation(AllocationSlot slot) = 0;

  // From now on the client's data pass from either five-tuple, while its peers' go by the one that
  // the allocation has. In the place of the move that was under way, if there was one. False: the
  // sink has no room, or moves nothing; nothing has changed then.
  virtual bool begin_move(const MoveFlow& /*flow*/) { return false; }
  // Then one of the two. The move's five-tuple is the allocation's, and the old one is nobody's;
  virtual void complete_move(AllocationSlot /*slot*/) {}
  // or all is as before. An allocation that is withdrawn takes its move with it.
  virtual void cancel_move(AllocationSlot /*slot*/) {}
};

}  // namespace turnpike
