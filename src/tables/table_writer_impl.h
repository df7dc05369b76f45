// What the writing end's files share: a shard's slots, and how next hops are found for its entries.
// Private to src/tables.
#pragma once

#include <algorithm>
#include <deque>
#include <vector>

#include "tables/slot_pool.h"
#include "tables/tables.h"
#include "tables/tables_impl.h"

namespace turnpike::flow {

// What one housekeeping() does at most, so that it stays in the tens of microseconds.
inline constexpr std::size_t kReclaimsPerCall = 1024;

struct TableWriter::Impl {
  Impl(TableParts& table_parts, std::uint8_t shard_index, Qsbr& grace, NextHopResolver& resolver)
      : parts(table_parts),
        shard(*parts.shards[shard_index]),
        index(shard_index),
        qsbr(grace),
        next_hops(resolver),
        resolved_epoch(resolver.epoch()),
        allocations(index * parts.limits.allocations_per_shard, parts.limits.allocations_per_shard),
        permissions(index * parts.limits.permissions_per_shard, parts.limits.permissions_per_shard),
        channels(index * parts.limits.channels_per_shard, parts.limits.channels_per_shard),
        moves(allocations.first(), allocations.size()),
        moving(allocations.size()),
        at_door(allocations.size()) {}

  std::optional<std::uint32_t> take(SlotPool& pool) {
    if (const auto slot = pool.take()) return slot;
    pool.reclaim(qsbr, kReclaimsPerCall);
    return pool.take();
  }

  // Of an allocation's entry, or of a move's.
  template <typename Entry>
  std::uint32_t resolve_client(const Entry& entry, std::uint32_t allocation) {
    const Listener& listener = parts.listeners[entry.listener];
    if (listener.transport != Transport::kUdp) {
      return static_cast<std::uint32_t>(
          next_hops.resolve_stream(listener.five_tuple(ClientEndpoint{entry.client})));
    }
    return static_cast<std::uint32_t>(
        next_hops.resolve({listener.endpoint.address, entry.client.address, allocation}));
  }
  // A hairpinned packet takes the next hop of the client it ends at; one to a socket of this
  // host's, on an address that is relayed too, takes the peer's.
  std::uint32_t resolve_peer(std::uint32_t allocation, const Address& peer, bool to_ourselves) {
    const RelayPort relay = parts.allocations[allocation].relayed[family_index(peer.family)];
    const Address& from = parts.relayed[relay.relayed].address.internal;
    const Address& to =
        to_ourselves ? parts.relayed[parts.relayed_index(peer)].address.internal : peer;
    const NextHopIndex hop = next_hops.resolve({from, to, allocation});
    if (HostDoor* const door = next_hops.host_door(hop)) {
      open_door(*door, relay, allocation);
    } else if (to_ourselves) {
      release_hop(static_cast<std::uint32_t>(hop));
      return static_cast<std::uint32_t>(kNoNextHop);
    }
    return static_cast<std::uint32_t>(hop);
  }
  void open_door(HostDoor& door, RelayPort relay, std::uint32_t allocation);
  // Whether peers by this hop are on this host, where none hears them at the relayed address.
  bool lacks_socket(std::uint32_t hop, std::uint32_t allocation, Family family);
  // The new one is stored with release: the reader that sees its index sees the next hop behind it.
  void exchange_hop(std::atomic<std::uint32_t>& word, std::uint32_t hop) {
    const std::uint32_t old = word.load(std::memory_order_relaxed);
    word.store(hop, std::memory_order_release);
    release_hop(old);
  }
  // An ended entry keeps the number, which it doesn't hold any more: a reader may be at it.
  void release_hop(std::uint32_t hop) {
    if (NextHopIndex{hop} != kNoNextHop) next_hops.release(NextHopIndex{hop});
  }
  bool is_ours(const Address& peer) const {
    return parts.relayed_index(peer) != parts.relayed.size();
  }

  ListenerIndex listener_of(const FiveTuple& five_tuple) const {
    const auto found = std::find_if(parts.listeners.begin(), parts.listeners.end(),
                                    [&five_tuple](const Listener& listener) {
                                      return listener.endpoint == five_tuple.server &&
                                             listener.transport == five_tuple.transport;
                                    });
    assert(found != parts.listeners.end());
    return static_cast<ListenerIndex>(found - parts.listeners.begin());
  }

  RelayPort relay_port(const RelayEndpoint& relay) const {
    const std::size_t relayed = parts.relayed_index(relay.address);
    assert(relayed < parts.relayed.size());
    return {static_cast<std::uint16_t>(relayed), relay.port};
  }
  void open_port(RelayPort relay, std::uint32_t slot);
  void close_port(RelayPort relay, std::uint32_t slot);
  void place_among_first(std::uint32_t slot, PermissionEntry& permission);
  bool place_among_first(std::uint32_t slot, ChannelEntry& channel);

  // What leads from the entry's client to it.
  void link_client(std::uint32_t slot);
  void unlink_client(std::uint32_t slot);

  // moves.cpp
  struct Moving {
    std::uint32_t pending = kNoSlot;  // a move that nothing has come by yet
    std::uint32_t moved = kNoSlot;    // the one that has the client, while readers may need it
    bool in_entry = false;            // the allocation's own entry has the client, too
    Qsbr::Token token = 0;            // when what is next for `moved` may be done; 0: nothing is
  };
  Moving& moving_of(std::uint32_t slot) { return moving[slot - allocations.first()]; }
  bool is_between(std::uint32_t slot) {
    const Moving& it = moving_of(slot);
    return it.moved != kNoSlot && !it.in_entry;
  }
  void unlink_move(std::uint32_t move);
  void await(std::uint32_t slot);
  void go_on(std::uint32_t slot);
  void go_on_with_moves();
  void end_moves(std::uint32_t slot);

  // Places to visit when routes have changed: allocations, then permissions, then channels.
  std::uint32_t visits() const { return allocations.size() + permissions.size() + channels.size(); }
  bool resolve_again(std::uint32_t place);
  void follow_routes();

  TableParts& parts;
  TableParts::Shard& shard;
  const std::uint8_t index;
  Qsbr& qsbr;
  NextHopResolver& next_hops;
  std::uint32_t resolved_epoch;
  SlotPool allocations;
  SlotPool permissions;
  SlotPool channels;
  SlotPool moves;
  std::vector<Moving> moving;  // by allocation
  // By allocation and family_index(): where its relayed transport address has a kernel socket, too.
  std::vector<std::array<HostDoor*, 2>> at_door;
  bool lacked_socket = false;  // the last permission that was to be published
  struct Awaited {
    std::uint32_t slot;
    Qsbr::Token token;
  };
  std::deque<Awaited> awaited;  // in the order of their tokens; no more than there are moves
  std::uint32_t cursor = 0;     // next place to visit, round and round
  std::uint32_t to_visit = 0;   // places that have not been visited since the last change
};

}  // namespace turnpike::flow
