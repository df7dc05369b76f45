// What hangs on allocations of TCP's: each relayed address has a socket that listens, somewhere
// else, and each connection with a peer one of its own, which ends with it.
#include <algorithm>
#include <cassert>
#include <string_view>

#include "turn/book.h"

namespace turnpike {
namespace {

constexpr std::uint32_t kConnectionIds = 1U << 24;  // as many as a CONNECTION-ID holds

}  // namespace

bool ConnectRates::take(Instant now, const QuotaUser& user, std::uint32_t per_second,
                        std::uint32_t burst) {
  if (per_second == 0) return true;
  const auto* const name = reinterpret_cast<const std::uint8_t*>(user.name.data());
  const std::uint64_t hash =
      siphash24(key_[0], key_[1] ^ user.realm, std::span(name, user.name.size()));
  // As flow/token_bucket.h: when the bucket will be full again.
  std::uint64_t& full_at = full_at_ms_[hash % kPlaces];
  const std::uint64_t cost = std::max<std::uint64_t>(1, 1000 / per_second);
  const std::uint64_t from = std::max(full_at, now.ms);
  if (from + cost > now.ms + cost * burst) return false;
  full_at = from + cost;
  return true;
}

std::uint64_t Book::new_number() {
  return (std::uint64_t{config_.shard} + 1) << kStreamShardShift | ++last_number_;
}

bool Book::open_relays(Allocation& allocation) {
  StreamAllocation& streams = *allocation.streams;
  for (std::size_t family = 0; family < 2; ++family) {
    if (!allocation.relayed[family]) continue;
    const StreamRelay relay{new_number()};
    if (!host_.peer_streams()->open(relay, *allocation.relayed[family])) {
      for (const Family made : {Family::kIpv4, Family::kIpv6})
        end_relay(allocation, made);
      streams.opening = 0;
      return false;
    }
    streams.relays[family] = relay;
    relays_[relay] = allocation.slot;
    ++streams.opening;
  }
  return true;
}

Allocation* Book::at(StreamRelay relay) {
  const auto found = relays_.find(relay);
  return found == relays_.end() ? nullptr : at(found->second);
}

// With its connections, of which those of the other family stay.
void Book::end_relay(Allocation& allocation, Family family) {
  std::vector<std::uint32_t> ended;
  for (const auto& [peer, id] : allocation.streams->connections) {
    if (peer.address.family == family) ended.push_back(id);
  }
  for (const std::uint32_t id : ended)
    end_connection(id);
  std::optional<StreamRelay>& relay = allocation.streams->relays[family_index(family)];
  if (!relay) return;
  host_.peer_streams()->close(*relay);
  relays_.erase(*relay);
  relay.reset();
}

PeerConnection* Book::connection(std::uint32_t id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : &found->second;
}

std::optional<std::uint32_t> Book::id_of(PeerStream stream) const {
  const auto found = ids_.find(stream);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

Limit Book::take_connection(const Allocation& allocation) {
  if (allocation.streams->connections.size() >= config_.max_connections_per_allocation)
    return Limit::kConnectionsPerAllocation;
  return quotas_.reserve(allocation.owner.account, QuotaLedger::Thing::kConnection, 1)
             ? Limit::kNone
             : Limit::kConnectionsPerUser;
}

void Book::give_connection(const Allocation& allocation) {
  quotas_.release(allocation.owner.account, QuotaLedger::Thing::kConnection, 1);
}

std::uint32_t Book::add(Allocation& allocation, PeerConnection&& connection) {
  std::uint32_t id = host_.random_below(kConnectionIds);
  while (connections_.contains(id))
    id = (id + 1) % kConnectionIds;
  connection.allocation = allocation.slot;
  if (connection.state == PeerConnection::State::kConnecting) ++allocation.streams->connecting;
  connections_due_.move(id, kNeverDue, connection.due_s);
  ids_[connection.stream] = id;
  [[maybe_unused]] const bool is_new =
      allocation.streams->connections.emplace(connection.peer, id).second;
  assert(is_new);
  connections_.emplace(id, std::move(connection));
  count_connections();
  return id;
}

void Book::enter(std::uint32_t id, PeerConnection::State state, std::uint32_t due_s) {
  PeerConnection& connection = connections_.at(id);
  if (connection.state == PeerConnection::State::kConnecting)
    --at(connection.allocation)->streams->connecting;
  connections_due_.move(id, connection.due_s, due_s);
  connection.due_s = due_s;
  connection.state = state;
}

void Book::end_connection(std::uint32_t id, bool said) {
  const PeerConnection& connection = connections_.at(id);
  Allocation& allocation = *at(connection.allocation);
  if (!said) host_.peer_streams()->close(connection.stream);
  if (connection.state == PeerConnection::State::kConnecting) --allocation.streams->connecting;
  allocation.streams->connections.erase(connection.peer);
  give_connection(allocation);
  connections_due_.move(id, connection.due_s, kNeverDue);
  ids_.erase(connection.stream);
  connections_.erase(id);
  count_connections();
}

void Book::count_connections() {
  counters_.peer_connections.set(connections_.size());
}

}  // namespace turnpike
