// The fast lane: nearly all of a relay's packets are unfragmented UDP between a client and a peer
// whose channel or permission is one of the first of its allocation. Those are relayed here,
// whatever the families of the two, the whole burst stage by stage, with a few compares, three
// cache lines of tables and the headers' arithmetic unrolled. Bare Bindings are answered here as
// well. Whatever is unusual is left as it was to the general stages (pipeline.h), which come to the
// same result, byte by byte, for whatever is done here (tests/property/fast_lane_property.cpp).
//
// It is a schedule: who may pass is said by admission.h, how headers change by conversion.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "flow/bare_binding.h"
#include "flow/counters.h"
#include "flow/here.h"
#include "flow/packet.h"
#include "flow/police.h"
#include "flow/setup.h"
#include "flow/worker_policy.h"
#include "tables/address_map.h"
#include "tables/tables.h"
#include "wire/transaction_ids.h"

namespace turnpike::flow {

// Identifications of IPv4 packets (RFC 6864): one worker's, among the others'.
struct IpIds {
  std::uint16_t next = 0;
  std::uint16_t step = 1;

  std::uint16_t take() {
    const std::uint16_t id = next;
    next = static_cast<std::uint16_t>(next + step);
    return id;
  }
};
struct Arrivals;
struct TableParts;
class HashIndex;

class FastLane {
 public:
  // Keeps references. `ip_ids`, `ids` and `police` are the worker's, shared with the general
  // stages.
  FastLane(const Setup& setup, const Here& here, const Tables& tables, NextHopResolver& next_hops,
           const Arrivals* arrivals, WorkerCounters& counters, IpIds& ip_ids, TransactionIds& ids,
           Police& police);

  // At most 64 packets, fresh from the caller. What is relayed has verdict kTransmit, what is
  // answered kTransmitBack, what the police refuses kDrop; the rest is untouched. Returns how many
  // were relayed or answered.
  std::size_t process(const WorkerPolicy& policy, Instant now, std::span<Packet> burst);

 private:
  // kHairpin: from a client, and now on its way to another.
  enum class Kind : std::uint8_t { kChannelData, kSend, kPeer, kHairpin };

  // A packet on its way through the stages.
  struct Item {
    Packet* packet;
    // From a peer: the allocation's place in the index of ports. Others: the index and the hash.
    const std::atomic<std::uint32_t>* relay_port;
    const HashIndex* clients;
    std::uint64_t hash;
    AddressWords source;
    AddressWords peer;          // kChannelData: not known
    std::uint32_t allocation;   // slot; kNoSlot: none
    std::uint32_t entry;        // slot of its channel or permission
    std::uint16_t source_port;  // ports in host order
    std::uint16_t peer_port;
    ListenerIndex listener;
    ChannelNumber channel;
    std::uint16_t framing;  // TURN's bytes before the body, a multiple of four
    std::uint16_t body_size;
    std::uint16_t behind;  // bytes of attributes behind the body and its padding
    Family family;         // of the packet
    Family peer_family;    // kChannelData: not known
    Kind kind;
    bool by_channel;  // `entry` is a channel's

    bool is_from_peer() const { return kind >= Kind::kPeer; }
  };
  // What has been relayed of this burst, by the families of both sides.
  struct Sum {
    std::uint64_t packets = 0, bytes = 0;
  };
  using Sums = std::array<std::array<Sum, 2>, 2>;

  // What the packets of a burst mostly have in common: their port, and where the last one went.
  struct Common {
    std::uint16_t port;
    MacWord mac, mask;  // of the port, as Arrivals has them
    const PortInfo* info;
    AddressWords destination{};
    Family family{};
    const Here::Place* place = nullptr;  // of the destination
  };

  bool open(Packet& packet, Item& item, Common& common);
  template <Family kFrom>
  bool open_udp(Packet& packet, Item& item, Common& common);
  const Here::Place* find_place(const AddressWords& destination, Family family,
                                Common& common) const;
  bool open_from_client(const std::uint8_t* payload, std::size_t size, Item& item) const;
  static bool open_send(const std::uint8_t* message, std::size_t size, Item& item);
  bool is_client(const Item& item, std::uint32_t slot) const;
  void find_allocation(Item& item) const;
  bool find_entry(Item& item) const;
  bool finish(std::uint32_t seconds, const Item& item);
  bool finish_from_peer(std::uint32_t seconds, const Item& item);
  bool finish_from_client(std::uint32_t seconds, const Item& item);
  template <Family kFrom, Family kTo>
  bool to_peer(const Item& item, RelayPort relayed, const Address& peer, std::uint16_t peer_port,
               std::uint32_t hop, const PathMtu& path, std::size_t framing);
  static std::uint64_t minus_behind(const std::uint8_t* body, const Item& item);
  template <Family kFrom, Family kTo, Family kPeer, bool kHairpin>
  bool to_client(const Item& item, ChannelNumber channel, std::uint32_t hop);
  // Read before who the client is: without a next hop, the entry may be about to say another
  // (tables/moves.cpp), and the packet is left to the general stages.
  std::uint32_t client_hop(const Item& item) const {
    return allocations_[item.allocation].client_next_hop.load(std::memory_order_acquire);
  }
  bool may_come(std::uint32_t seconds, const Item& item, ChannelNumber& number) const;
  bool turn_back(std::uint32_t seconds, Item item, RelayPort own, const Address& peer,
                 std::uint16_t peer_port);
  template <Family kFrom, Family kTo>
  bool path_takes(std::uint32_t hop, std::size_t path_mtu, bool may_fragment,
                  std::size_t udp_size) const;
  bool police_takes(const Item& item, const std::uint8_t* body, bool to_client, Family peer);
  bool watching_police_takes(const Item& item, const std::uint8_t* body, bool to_client,
                             Family peer);
  std::uint32_t ttl_left(std::uint32_t ttl) const { return (ttl & ttl_mask_) + ttl_term_; }
  void count();

  const Setup& setup_;
  const Here& here_;
  const TableParts& tables_;
  const AllocationEntry* allocations_;
  const ChannelEntry* channels_;
  const PermissionEntry* permissions_;
  const NextHop* next_hops_;
  const Arrivals* arrivals_;  // by port
  WorkerCounters& counters_;
  IpIds& ip_ids_;
  TransactionIds& ids_;
  Police& police_;
  const BareBinding bare_binding_;
  // Of this burst.
  const WorkerPolicy* policy_ = nullptr;
  Instant now_{};
  // What leaves has TTL (old & mask) + term: one less (of at least two), or always the same.
  std::uint32_t ttl_mask_ = 0, ttl_term_ = 0;
  Sums to_peers_{}, to_clients_{}, hairpins_{};
  std::uint64_t bindings_ = 0;
};

}  // namespace turnpike::flow
