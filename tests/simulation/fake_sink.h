// One shard's flows as plain maps, and what a worker that reads them would do to a packet. Where
// there are real tables besides, all goes on to them, and slots are theirs: each comes again.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "model.h"
#include "turnpike/flow_sink.h"

namespace turnpike::simulation {

class FakeSink final : public FlowSink {
 public:
  // `ports` are all shards'; `is_full` is asked before anything is published. `inner`: none, or
  // where it is published as well.
  FakeSink(std::set<RelayEndpoint>& ports, std::function<bool()> is_full, FlowSink* inner)
      : ports_(ports), is_full_(std::move(is_full)), inner_(inner) {}

  std::optional<AllocationSlot> publish_allocation(const AllocationFlow& flow) override {
    if (is_full_()) return refuse();
    for (const auto& [slot, other] : allocations)
      require(other.five_tuple != flow.five_tuple, "a five-tuple has two flows");
    for (const auto& relayed : flow.relayed)
      require(!relayed || !ports_.contains(*relayed), "a relay port has two owners");
    const auto slot = inner_ != nullptr ? inner_->publish_allocation(flow) : next<AllocationSlot>();
    if (!slot) return refuse();
    for (const auto& relayed : flow.relayed) {
      if (relayed) ports_.insert(*relayed);
    }
    require(allocations.emplace(number(*slot), flow).second, "an allocation's slot has two owners");
    owners_[number(*slot)] = ++births_;
    return slot;
  }
  std::optional<PermissionSlot> publish_permission(const PermissionFlow& flow) override {
    if (is_full_()) return refuse();
    require(allocations.contains(number(flow.allocation)), "a permission without allocation");
    const auto slot = inner_ != nullptr ? inner_->publish_permission(flow) : next<PermissionSlot>();
    if (!slot) return refuse();
    require(permissions.emplace(number(*slot), flow).second, "a permission's slot has two owners");
    return slot;
  }
  std::optional<ChannelSlot> publish_channel(const ChannelFlow& flow) override {
    if (is_full_()) return refuse();
    const auto permission = permissions.find(number(flow.permission));
    require(permission != permissions.end(), "a channel without permission");
    require(permission->second.allocation == flow.allocation &&
                permission->second.peer == flow.peer.address,
            "a channel names another peer's permission");
    const auto slot = inner_ != nullptr ? inner_->publish_channel(flow) : next<ChannelSlot>();
    if (!slot) return refuse();
    require(channels.emplace(number(*slot), flow).second, "a channel's slot has two owners");
    return slot;
  }
  void extend_relayed(AllocationSlot slot, Family family, std::uint32_t expires_s) override {
    auto& flow = at(allocations, number(slot));
    require(flow.relayed[family_index(family)].has_value(), "a family that has ended goes on");
    flow.expires_s[family_index(family)] = expires_s;
    if (inner_ != nullptr) inner_->extend_relayed(slot, family, expires_s);
  }
  void extend_permission(PermissionSlot slot, std::uint32_t expires_s) override {
    at(permissions, number(slot)).expires_s = expires_s;
    if (inner_ != nullptr) inner_->extend_permission(slot, expires_s);
  }
  void extend_channel(ChannelSlot slot, std::uint32_t expires_s) override {
    at(channels, number(slot)).expires_s = expires_s;
    if (inner_ != nullptr) inner_->extend_channel(slot, expires_s);
  }
  void withdraw_relayed(AllocationSlot slot, Family family) override {
    auto& flow = at(allocations, number(slot));
    auto& relayed = flow.relayed[family_index(family)];
    require(relayed && ports_.erase(*relayed) == 1, "a relay port is given back twice");
    relayed.reset();
    flow.expires_s[family_index(family)] = 0;
    if (inner_ != nullptr) inner_->withdraw_relayed(slot, family);
  }
  void withdraw_channel(ChannelSlot slot) override {
    require(channels.erase(number(slot)) == 1, "a channel ends twice");
    give_back(slot);
    if (inner_ != nullptr) inner_->withdraw_channel(slot);
  }
  void withdraw_permission(PermissionSlot slot) override {
    require(permissions.erase(number(slot)) == 1, "a permission ends twice");
    for (const auto& [id, channel] : channels)
      require(channel.permission != slot, "a channel outlives its permission's slot");
    give_back(slot);
    if (inner_ != nullptr) inner_->withdraw_permission(slot);
  }
  void withdraw_allocation(AllocationSlot slot) override {
    const auto& flow = at(allocations, number(slot));
    require(!flow.relayed[0] && !flow.relayed[1], "an allocation ends with a port");
    for (const auto& [id, permission] : permissions)
      require(permission.allocation != slot, "a permission outlives its allocation");
    allocations.erase(number(slot));
    give_back(slot);
    require(!moves.contains(number(slot)), "a move outlives its allocation");
    if (inner_ != nullptr) inner_->withdraw_allocation(slot);
  }
  bool begin_move(const MoveFlow& flow) override {
    if (is_full_()) {
      refused = true;
      return false;
    }
    require(allocations.contains(number(flow.allocation)), "nothing moves");
    require(!has(flow.five_tuple), "a five-tuple has two flows");
    if (inner_ != nullptr && !inner_->begin_move(flow)) return false;
    moves[number(flow.allocation)] = flow;
    return true;
  }
  void complete_move(AllocationSlot slot) override {
    at(allocations, number(slot)).five_tuple = at(moves, number(slot)).five_tuple;
    moves.erase(number(slot));
    if (inner_ != nullptr) inner_->complete_move(slot);
  }
  void cancel_move(AllocationSlot slot) override {
    moves.erase(number(slot));
    if (inner_ != nullptr) inner_->cancel_move(slot);
  }

  // By which a client comes to an allocation.
  bool has(const FiveTuple& five_tuple) const {
    return std::any_of(allocations.begin(), allocations.end(),
                       [&](const auto& one) { return leads(one.first, five_tuple); });
  }

  // The slot and its generation, as far as a notice tells one owner from the next.
  std::uint64_t owner_of(std::uint32_t slot) const { return owners_.at(slot); }
  bool is_owner(std::uint32_t slot, std::uint64_t owner) const {
    return allocations.contains(slot) && owners_.at(slot) == owner;
  }

  // As the workers: a live channel, both ways and whatever its permission; a live permission.
  std::optional<Endpoint> by_channel(const FiveTuple& five_tuple, ChannelNumber wanted,
                                     std::uint32_t seconds) const {
    for (const auto& [id, flow] : channels) {
      const AllocationFlow& allocation = allocations.at(number(flow.allocation));
      if (leads(number(flow.allocation), five_tuple) && flow.number == wanted &&
          flow.expires_s > seconds && lives(allocation, flow.peer.address.family, seconds)) {
        return flow.peer;
      }
    }
    return std::nullopt;
  }
  bool by_send(const FiveTuple& five_tuple, const Address& peer, std::uint32_t seconds) const {
    for (const auto& [id, flow] : permissions) {
      const AllocationFlow& allocation = allocations.at(number(flow.allocation));
      if (leads(number(flow.allocation), five_tuple) && flow.peer == peer &&
          flow.expires_s > seconds && lives(allocation, peer.family, seconds)) {
        return true;
      }
    }
    return false;
  }
  std::optional<Model::Delivery> from_peer(const RelayEndpoint& relayed, const Endpoint& peer,
                                           std::uint32_t seconds) const {
    for (const auto& [slot, flow] : allocations) {
      const Family family = relayed.address.family;
      if (flow.relayed[family_index(family)] != relayed || !lives(flow, family, seconds)) continue;
      for (const auto& [id, channel] : channels) {
        if (number(channel.allocation) != slot ||
            static_cast<const Endpoint&>(channel.peer) != peer || channel.expires_s <= seconds) {
          continue;
        }
        return Model::Delivery{flow.five_tuple, channel.number};
      }
      if (!by_send(flow.five_tuple, peer.address, seconds)) return std::nullopt;
      return Model::Delivery{flow.five_tuple, std::nullopt};
    }
    return std::nullopt;
  }

  template <typename Slot>
  static std::uint32_t number(Slot slot) {
    return static_cast<std::uint32_t>(slot);
  }

  std::map<std::uint32_t, AllocationFlow> allocations;
  std::map<std::uint32_t, MoveFlow> moves;  // by allocation
  std::map<std::uint32_t, PermissionFlow> permissions;
  std::map<std::uint32_t, ChannelFlow> channels;
  bool refused = false;  // something, for want of room, since somebody last asked

 private:
  std::nullopt_t refuse() {
    refused = true;
    return std::nullopt;
  }
  template <typename Slot>
  std::optional<Slot> next() {
    if (free_.empty()) return Slot{next_++};
    const std::uint32_t again = free_.back();
    free_.pop_back();
    return Slot{again};
  }
  template <typename Slot>
  void give_back(Slot slot) {
    if (inner_ == nullptr) free_.push_back(number(slot));
  }
  bool leads(std::uint32_t slot, const FiveTuple& five_tuple) const {
    const auto move = moves.find(slot);
    return allocations.at(slot).five_tuple == five_tuple ||
           (move != moves.end() && move->second.five_tuple == five_tuple);
  }
  template <typename Flow>
  static Flow& at(std::map<std::uint32_t, Flow>& flows, std::uint32_t slot) {
    const auto found = flows.find(slot);
    require(found != flows.end(), "a flow that has ended is touched");
    return found->second;
  }
  static bool lives(const AllocationFlow& flow, Family family, std::uint32_t seconds) {
    return flow.relayed[family_index(family)] && flow.expires_s[family_index(family)] > seconds;
  }

  std::set<RelayEndpoint>& ports_;
  std::function<bool()> is_full_;
  FlowSink* const inner_;
  std::uint32_t next_ = 1;
  std::vector<std::uint32_t> free_;  // given out again at once, so that who is late meets another
  std::map<std::uint32_t, std::uint64_t> owners_;  // the last, by slot
  std::uint64_t births_ = 0;
};

}  // namespace turnpike::simulation
