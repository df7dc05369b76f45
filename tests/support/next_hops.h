// Made-up next hops, for tests of what asks control for them.
#pragma once

#include <map>
#include <set>
#include <utility>

#include "tables/tables.h"

namespace turnpike::flow::test {

// All go the same way, to a neighbour that has answered.
class OneHop final : public NextHopResolver {
 public:
  OneHop() { hops_[1].mac.store(kMacResolved | 0x0203, std::memory_order_relaxed); }
  NextHopIndex resolve(const Journey&) override { return answer; }
  void release(NextHopIndex) override {}
  std::uint32_t epoch() const override { return 1; }
  NextHop* table() override { return hops_; }

  NextHopIndex answer{1};

 private:
  NextHop hops_[2];
};

// By destination, as a test says; remembers who asked for what and has not given it back.
class Routes final : public NextHopResolver {
 public:
  NextHopIndex resolve(const Journey& journey) override {
    ++resolved;
    journeys.insert({journey.source, journey.destination});
    const auto route = routes.find(journey.destination);
    const NextHopIndex hop = route == routes.end() ? fallback : route->second;
    ++held[hop];
    return hop;
  }
  void release(NextHopIndex hop) override { --held[hop]; }
  std::uint32_t epoch() const override { return now; }
  NextHop* table() override { return nullptr; }

  std::map<Address, NextHopIndex> routes;
  NextHopIndex fallback{1};
  std::uint32_t now = 0;
  std::uint32_t resolved = 0;
  std::map<NextHopIndex, int> held;
  std::set<std::pair<Address, Address>> journeys;  // from, to
};

}  // namespace turnpike::flow::test
