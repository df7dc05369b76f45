// A node with any number of allocations, each with one permission and one channel, for the
// benchmarks.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <random>

#include "cycles.h"
#include "tables/tables.h"

namespace turnpike::bench {

using namespace turnpike::flow;  // the benchmarks speak of nothing else

inline constexpr std::uint32_t kPorts = 65536;
inline const Endpoint kListener{Address::v4(192, 0, 2, 1), 3478};
inline const HashKey kKey{0x0123456789abcdef, 0xfedcba9876543210, 0x9e3779b97f4a7c15,
                          0xc2b2ae3d27d4eb4f};

class OneRoute final : public NextHopResolver {
 public:
  NextHopIndex resolve(const Journey&) override { return NextHopIndex{1}; }
  void release(NextHopIndex) override {}
  std::uint32_t epoch() const override { return 0; }
  NextHop* table() override { return hops_; }

 private:
  NextHop hops_[2];
};

// The n-th address of a network.
inline Address numbered(Family family, std::uint8_t net, std::uint32_t n) {
  const std::array<std::uint8_t, 3> low = {static_cast<std::uint8_t>(n >> 16),
                                           static_cast<std::uint8_t>(n >> 8),
                                           static_cast<std::uint8_t>(n)};
  if (family == Family::kIpv4) return Address::v4(net, low[0], low[1], low[2]);
  Address address{{0x20, 0x01, 0x0D, 0xB8, net}, family};
  std::copy(low.begin(), low.end(), address.bytes.begin() + 13);
  return address;
}
inline std::uint32_t number_of(const Address& address) {
  const std::uint8_t* low = address.bytes.data() + (address.family == Family::kIpv4 ? 1 : 13);
  return std::uint32_t{low[0]} << 16 | std::uint32_t{low[1]} << 8 | low[2];
}

inline Endpoint listener_of(Family family) {
  return family == Family::kIpv4 ? kListener : Endpoint{numbered(family, 192, 0), 3478};
}

struct Shape {
  std::uint32_t count = 0;  // of allocations
  bool channels = true;
  Family client = Family::kIpv4;
  Family peer = Family::kIpv4;
  std::uint32_t relayed = 0;  // addresses; 0: as many as it takes
  bool hairpin = false;       // two and two are each other's peers, by their relayed addresses

  friend auto operator<=>(const Shape&, const Shape&) = default;
};

// Allocations with a permission and, maybe, a channel each, and the keys to all of them, shuffled.
class Node {
 public:
  explicit Node(const Shape& of) : shape(of) {
    const std::uint32_t addresses =
        std::max(shape.relayed, (shape.count - 1) / kPorts + std::uint32_t{1});
    for (std::uint32_t i = 0; i < addresses; ++i)
      relayed.push_back({numbered(shape.peer, 193, i), std::nullopt});
    TableLimits limits;
    limits.allocations_per_shard = limits.permissions_per_shard = limits.channels_per_shard =
        shape.count;
    tables_ = std::make_unique<Tables>(limits, relayed,
                                       std::vector<Listener>{{listener_of(shape.client)}}, kKey,
                                       std::vector<std::atomic<std::uint64_t>*>{});
    TableWriter writer(*tables_, 0, qsbr_, routes_);
    for (std::uint32_t n = 0; n < shape.count; ++n)
      publish(writer, n);
    std::mt19937_64 random(1);
    std::shuffle(clients.begin(), clients.end(), random);
    std::shuffle(relays.begin(), relays.end(), random);
    std::shuffle(numbers.begin(), numbers.end(), random);
    std::shuffle(peers.begin(), peers.end(), random);
    std::shuffle(permissions.begin(), permissions.end(), random);
  }

  const Tables& tables() const { return *tables_; }
  // As if all flows were new.
  void forget_verdicts() const {
    for (std::uint32_t n = 0; n < shape.count; ++n)
      tables_->channel(ChannelSlot{n}).payload_verdict.store(0, std::memory_order_relaxed);
  }
  Endpoint peer(std::uint32_t n) const {
    return shape.hairpin ? relay(n ^ 1U) : Endpoint{numbered(shape.peer, 11, n), 6000};
  }
  Endpoint relay(std::uint32_t n) const {
    const auto addresses = static_cast<std::uint32_t>(relayed.size());
    return {relayed[n % addresses].internal, static_cast<std::uint16_t>(n / addresses)};
  }
  Endpoint peer_of(const ClientKey& client) const { return peer(number_of(client.client.address)); }
  Endpoint peer_of(const RelayKey& relay) const {
    const auto addresses = static_cast<std::uint32_t>(relayed.size());
    return peer(relay.port * addresses + number_of(relay.relayed));
  }

  const Shape shape;
  std::vector<RelayedAddress> relayed;
  std::vector<ClientKey> clients;
  std::vector<RelayKey> relays;
  std::vector<NumberKey> numbers;
  std::vector<PeerKey> peers;
  std::vector<PermissionKey> permissions;

 private:
  void publish(TableWriter& writer, std::uint32_t n) {
    const Endpoint own = relay(n);
    AllocationFlow flow;
    flow.five_tuple.client = ClientEndpoint{{numbered(shape.client, 10, n), 5000}};
    flow.five_tuple.server = listener_of(shape.client);
    const std::size_t family = family_index(shape.peer);
    flow.relayed[family] = RelayEndpoint{own};
    flow.expires_s[family] = 6000;
    const AllocationSlot slot = writer.publish_allocation(flow).value();
    const PermissionSlot permission =
        writer.publish_permission({slot, peer(n).address, 6000}).value();
    if (shape.channels)
      writer.publish_channel({slot, permission, 0x4000, PeerEndpoint{peer(n)}, 6000}).value();
    clients.push_back({flow.five_tuple.client, 0});
    relays.push_back({own.address, own.port});
    numbers.push_back({slot, 0x4000});
    peers.push_back({slot, peer(n)});
    permissions.push_back({slot, peer(n).address});
  }

  Qsbr qsbr_;
  OneRoute routes_;
  std::unique_ptr<Tables> tables_;
};

// One at a time, but where two are of a thousand allocations: large ones would not fit together.
inline Node& node(const Shape& shape) {
  static std::mutex mutex;
  const std::scoped_lock lock(mutex);
  static std::map<Shape, std::unique_ptr<Node>> nodes;
  std::unique_ptr<Node>& made = nodes[shape];
  if (made == nullptr) {
    std::erase_if(nodes, [](const auto& one) { return one.first.count > 1000 && one.second; });
    made = std::make_unique<Node>(shape);
  }
  return *made;
}
inline Node& node(std::int64_t count) {
  return node(Shape{.count = static_cast<std::uint32_t>(count)});
}

}  // namespace turnpike::bench
