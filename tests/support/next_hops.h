// Made-up next hops, for tests of what asks control for them.
#pragma once

#include <map>
#include <set>
#include <utility>
#include <vector>

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
  HostDoor* host_door(NextHopIndex) override { return door; }

  NextHopIndex answer{1};
  HostDoor* door = nullptr;  // where it leads to this host

 private:
  NextHop hops_[2];
};

// Remembers what is open; has room for so many.
class Doors final : public HostDoor {
 public:
  bool open(const Endpoint& relayed, std::uint32_t user) override {
    if (opened.size() == room) return false;
    opened.insert(relayed);
    users.push_back(user);
    return true;
  }
  void close(const Endpoint& relayed, std::uint32_t user) override {
    closed += opened.erase(relayed);
    std::erase(users, user);
  }

  std::multiset<Endpoint> opened;
  std::vector<std::uint32_t> users;  // who have something open
  std::size_t room = 100, closed = 0;
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
  HostDoor* host_door(NextHopIndex hop) override { return hop == host ? &door : nullptr; }

  NextHopIndex host = kNoNextHop;  // leads to this host
  Doors door;
  std::map<Address, NextHopIndex> routes;
  NextHopIndex fallback{1};
  std::uint32_t now = 0;
  std::uint32_t resolved = 0;
  std::map<NextHopIndex, int> held;
  std::set<std::pair<Address, Address>> journeys;  // from, to
};

}  // namespace turnpike::flow::test
