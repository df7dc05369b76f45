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

inline Address numbered(std::uint8_t net, std::uint32_t n) {
  return Address::v4(net, static_cast<std::uint8_t>(n >> 16), static_cast<std::uint8_t>(n >> 8),
                     static_cast<std::uint8_t>(n));
}

// `count` allocations with a permission and a channel each, and the keys to all of them, shuffled.
class Node {
 public:
  explicit Node(std::uint32_t count, bool channels = true) : channels_(channels) {
    for (std::uint32_t i = 0; i <= (count - 1) / kPorts; ++i) {
      relayed.push_back({numbered(192, i), std::nullopt});
    }
    TableLimits limits;
    limits.allocations_per_shard = limits.permissions_per_shard = limits.channels_per_shard = count;
    tables_ = std::make_unique<Tables>(limits, relayed, std::vector<Endpoint>{kListener}, kKey,
                                       std::vector<std::atomic<std::uint64_t>*>{});
    TableWriter writer(*tables_, 0, qsbr_, routes_);
    for (std::uint32_t n = 0; n < count; ++n)
      publish(writer, relayed[n / kPorts].internal, n);
    std::mt19937_64 random(1);
    std::shuffle(clients.begin(), clients.end(), random);
    std::shuffle(relays.begin(), relays.end(), random);
    std::shuffle(numbers.begin(), numbers.end(), random);
    std::shuffle(peers.begin(), peers.end(), random);
    std::shuffle(permissions.begin(), permissions.end(), random);
  }

  const Tables& tables() const { return *tables_; }
  static Endpoint peer(std::uint32_t n) { return {numbered(11, n), 6000}; }
  // The peer of the allocation that has this relay port.
  static Endpoint peer_of_relay(const RelayKey& relay) {
    return peer(relay.relayed.bytes[3] * kPorts + relay.port);
  }

  std::vector<RelayedAddress> relayed;
  std::vector<ClientKey> clients;
  std::vector<RelayKey> relays;
  std::vector<NumberKey> numbers;
  std::vector<PeerKey> peers;
  std::vector<PermissionKey> permissions;

 private:
  void publish(TableWriter& writer, const Address& address, std::uint32_t n) {
    AllocationFlow flow;
    flow.five_tuple.client = ClientEndpoint{{numbered(10, n), 5000}};
    flow.five_tuple.server = kListener;
    flow.relayed[0] = RelayEndpoint{{address, static_cast<std::uint16_t>(n % kPorts)}};
    flow.expires_s[0] = 6000;
    const Endpoint peer = Node::peer(n);
    const AllocationSlot slot = writer.publish_allocation(flow).value();
    const PermissionSlot permission = writer.publish_permission({slot, peer.address, 6000}).value();
    if (channels_)
      writer.publish_channel({slot, permission, 0x4000, PeerEndpoint{peer}, 6000}).value();
    clients.push_back({flow.five_tuple.client, 0});
    relays.push_back({address, flow.relayed[0]->port});
    numbers.push_back({slot, 0x4000});
    peers.push_back({slot, peer});
    permissions.push_back({slot, peer.address});
  }

  bool channels_;
  Qsbr qsbr_;
  OneRoute routes_;
  std::unique_ptr<Tables> tables_;
};

inline Node& node(std::int64_t count, bool channels = true) {
  static std::mutex mutex;
  const std::scoped_lock lock(mutex);
  static std::map<std::pair<std::int64_t, bool>, std::unique_ptr<Node>> nodes;
  std::unique_ptr<Node>& made = nodes[{count, channels}];
  if (made == nullptr) made = std::make_unique<Node>(static_cast<std::uint32_t>(count), channels);
  return *made;
}

}  // namespace turnpike::bench
