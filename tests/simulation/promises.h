// All shards' flows held against what the model was promised: no more is open, and no less, and a
// packet goes where the promises say.
#pragma once

#include <array>
#include <vector>

#include "fake_sink.h"
#include "model.h"
#include "turnpike/counters.h"

namespace turnpike::simulation {

class Promises {
 public:
  // Refers to all it is given; the model has forgotten what has ended at `now`.
  Promises(const ServerConfig& config, const Model& model, std::vector<const FakeSink*> sinks,
           Instant now)
      : config_(config), model_(model), sinks_(std::move(sinks)), seconds_(now_s(now)) {}

  void check_flows() {
    for (const FakeSink* sink : sinks_) {
      count_allocations(*sink);
      count_permissions(*sink);
      count_channels(*sink);
    }
    for (const auto& [five_tuple, promised] : model_.allocations()) {
      for (const auto& relayed : promised.relayed)
        families_ -= relayed.has_value() ? 1 : 0;
      permissions_ -= promised.permissions.size();
      channels_ -= promised.channels.size();
    }
    require(families_ == 0, "a promised allocation is missing");
    require(permissions_ == 0, "a promised permission is missing");
    require(channels_ == 0, "a promised channel is missing");
  }

  void check_from_client(const FiveTuple& five_tuple, ChannelNumber number,
                         const Address& peer) const {
    std::optional<Endpoint> through;
    bool sent = false;
    for (const FakeSink* sink : sinks_) {
      if (const auto to = sink->by_channel(five_tuple, number, seconds_)) through = to;
      sent |= sink->by_send(five_tuple, peer, seconds_);
    }
    require(through == model_.by_channel(five_tuple, number), "ChannelData goes astray");
    require(sent == model_.by_send(five_tuple, peer), "a Send indication goes astray");
  }

  void check_from_peer(const RelayEndpoint& relayed, const Endpoint& peer) const {
    std::optional<Model::Delivery> delivered;
    for (const FakeSink* sink : sinks_) {
      if (const auto to = sink->from_peer(relayed, peer, seconds_)) delivered = to;
    }
    const Endpoint named{public_of(config_, relayed.address), relayed.port};
    require(delivered == model_.from_peer(named, peer), "a peer's packet goes astray");
  }

 private:
  void count_allocations(const FakeSink& sink) {
    for (const auto& [slot, flow] : sink.allocations) {
      for (std::size_t family = 0; family < 2; ++family) {
        if (flow.expires_s[family] <= seconds_) continue;
        const Model::Allocation& promised = promise_to(flow.five_tuple);
        require(promised.until_s[family] == flow.expires_s[family],
                "an allocation lives otherwise than promised");
        require(public_of(config_, flow.relayed[family]->address) ==
                        promised.relayed[family]->address &&
                    flow.relayed[family]->port == promised.relayed[family]->port,
                "an allocation has another relayed address than promised");
        ++families_;
      }
    }
  }
  void count_permissions(const FakeSink& sink) {
    for (const auto& [slot, flow] : sink.permissions) {
      const AllocationFlow& allocation = sink.allocations.at(FakeSink::number(flow.allocation));
      if (!lives(allocation, flow.peer, flow.expires_s)) continue;
      const auto& promised = promise_to(allocation.five_tuple).permissions;
      const auto found = promised.find(flow.peer);
      require(found != promised.end() && found->second == flow.expires_s,
              "a permission that nobody was promised");
      ++permissions_;
    }
  }
  void count_channels(const FakeSink& sink) {
    for (const auto& [slot, flow] : sink.channels) {
      const AllocationFlow& allocation = sink.allocations.at(FakeSink::number(flow.allocation));
      if (!lives(allocation, flow.peer.address, flow.expires_s)) continue;
      const auto& promised = promise_to(allocation.five_tuple).channels;
      const auto found = promised.find(flow.number);
      require(found != promised.end() && found->second.peer == flow.peer &&
                  found->second.until_s == flow.expires_s,
              "a channel that nobody was promised");
      ++channels_;
    }
  }

  const Model::Allocation& promise_to(const FiveTuple& five_tuple) const {
    const auto found = model_.allocations().find(five_tuple);
    require(found != model_.allocations().end(), "an allocation that nobody was promised");
    return found->second;
  }
  bool lives(const AllocationFlow& allocation, const Address& peer, std::uint32_t until_s) const {
    return until_s > seconds_ && allocation.expires_s[family_index(peer.family)] > seconds_;
  }

  const ServerConfig& config_;
  const Model& model_;
  const std::vector<const FakeSink*> sinks_;
  const std::uint32_t seconds_;
  std::size_t families_ = 0, permissions_ = 0, channels_ = 0;  // live, less the promised
};

inline void check_counters(const ServerConfig& config, const ServerCounters& counters,
                           const FakeSink& sink) {
  require(counters.allocations.get() == sink.allocations.size(), "the count of allocations is off");
  std::array<std::uint64_t, kTransports> by_transport{};
  for (const auto& [slot, flow] : sink.allocations)
    ++by_transport[static_cast<std::size_t>(flow.five_tuple.transport)];
  for (std::size_t i = 0; i < kTransports; ++i) {
    require(counters.transport_allocations[i].get() == by_transport[i],
            "the count of a transport's allocations is off");
  }
  require(counters.permissions.get() == sink.permissions.size(), "the count of permissions is off");
  require(counters.channels.get() == sink.channels.size(), "the count of channels is off");
  require(counters.allocations.get() <= config.max_allocations, "more allocations than allowed");
}

}  // namespace turnpike::simulation
