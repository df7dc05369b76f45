// A shard's way into the real tables, which remembers of each thing published which one it is:
// slots come again, and generations after a while, but no two owners of a slot have one number
// here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>

#include "tables/tables.h"

namespace turnpike::simulation {

// Of all shards, so that a number is one thing's.
using Birth = std::uint64_t;

class WatchedWriter final : public FlowSink {
 public:
  struct Born {
    AllocationFlow flow;
    Birth birth = 0;
  };
  struct BornPermission {
    PermissionFlow flow;
    Birth birth = 0;
  };
  struct BornChannel {
    ChannelFlow flow;
    Birth birth = 0;
  };

  WatchedWriter(flow::Tables& tables, std::uint8_t shard, Qsbr& qsbr, flow::NextHopResolver& hops,
                Birth& births)
      : writer_(tables, shard, qsbr, hops), births_(births) {}

  flow::TableWriter& tables() { return writer_; }

  // nullptr: none that is published.
  const Born* allocation(AllocationSlot slot) const { return find(allocations_, slot); }
  const Born* allocation(const FiveTuple& five_tuple) const {
    return find_if(allocations_,
                   [&](const Born& one) { return one.flow.five_tuple == five_tuple; });
  }
  const Born* born(Birth birth) const {
    return find_if(allocations_, [&](const Born& one) { return one.birth == birth; });
  }
  const BornPermission* permission(const FiveTuple& five_tuple, const Address& peer) const {
    return find_if(permissions_, [&](const BornPermission& one) {
      return one.flow.peer == peer && is_of(one.flow.allocation, five_tuple);
    });
  }
  const BornChannel* channel(const FiveTuple& five_tuple, ChannelNumber number) const {
    return find_if(channels_, [&](const BornChannel& one) {
      return one.flow.number == number && is_of(one.flow.allocation, five_tuple);
    });
  }

  std::optional<AllocationSlot> publish_allocation(const AllocationFlow& flow) override {
    const auto slot = writer_.publish_allocation(flow);
    if (slot) allocations_[*slot] = {flow, ++births_};
    return slot;
  }
  std::optional<PermissionSlot> publish_permission(const PermissionFlow& flow) override {
    const auto slot = writer_.publish_permission(flow);
    if (slot) permissions_[*slot] = {flow, ++births_};
    return slot;
  }
  std::optional<ChannelSlot> publish_channel(const ChannelFlow& flow) override {
    const auto slot = writer_.publish_channel(flow);
    if (slot) channels_[*slot] = {flow, ++births_};
    return slot;
  }
  void extend_relayed(AllocationSlot slot, Family family, std::uint32_t expires_s) override {
    writer_.extend_relayed(slot, family, expires_s);
  }
  void extend_permission(PermissionSlot slot, std::uint32_t expires_s) override {
    writer_.extend_permission(slot, expires_s);
  }
  void extend_channel(ChannelSlot slot, std::uint32_t expires_s) override {
    writer_.extend_channel(slot, expires_s);
  }
  void withdraw_relayed(AllocationSlot slot, Family family) override {
    writer_.withdraw_relayed(slot, family);
  }
  void withdraw_channel(ChannelSlot slot) override {
    writer_.withdraw_channel(slot);
    channels_.erase(slot);
  }
  void withdraw_permission(PermissionSlot slot) override {
    writer_.withdraw_permission(slot);
    permissions_.erase(slot);
  }
  void withdraw_allocation(AllocationSlot slot) override {
    writer_.withdraw_allocation(slot);
    allocations_.erase(slot);
  }

 private:
  template <typename Map, typename Slot>
  static auto find(const Map& map, Slot slot) -> const typename Map::mapped_type* {
    const auto found = map.find(slot);
    return found == map.end() ? nullptr : &found->second;
  }
  template <typename Map, typename Wanted>
  static auto find_if(const Map& map, Wanted wanted) -> const typename Map::mapped_type* {
    const auto found =
        std::find_if(map.begin(), map.end(), [&](const auto& one) { return wanted(one.second); });
    return found == map.end() ? nullptr : &found->second;
  }
  bool is_of(AllocationSlot slot, const FiveTuple& five_tuple) const {
    return allocations_.at(slot).flow.five_tuple == five_tuple;
  }

  flow::TableWriter writer_;
  Birth& births_;
  std::map<AllocationSlot, Born> allocations_;
  std::map<PermissionSlot, BornPermission> permissions_;
  std::map<ChannelSlot, BornChannel> channels_;
};

}  // namespace turnpike::simulation
