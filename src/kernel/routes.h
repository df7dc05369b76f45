// Routes and rules as the kernel has them, and the way it would take from a source to a
// destination: what `ip route get DESTINATION from SOURCE` says. Values only; who reads them from
// the kernel is kernel/route_messages.h.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::kernel {

struct Prefix {
  Address address;  // its bits behind `length` are zero
  std::uint8_t length = 0;

  bool contains(const Address& other) const;
  bool operator==(const Prefix&) const = default;
};
Address masked(const Address& address, unsigned length);

// The tables' numbers are the kernel's (rtnetlink(7)).
inline constexpr std::uint32_t kTableDefault = 253, kTableMain = 254, kTableLocal = 255;

// One path of a route.
struct RouteTarget {
  enum class Kind : std::uint8_t {
    kLeads,
    kForbids,  // blackhole, unreachable, prohibit
    kThrows,   // the next rule's table decides
    kHere,     // an address of this host, or a broadcast one
  };
  Kind kind = Kind::kLeads;
  std::uint32_t interface = 0;
  std::uint32_t mtu = 0;           // the route's own; 0: none
  std::optional<Address> gateway;  // none: the destination is on the link
  Prefix source;                   // for packets from here only (IPv6); of length 0: for all

  bool operator==(const RouteTarget&) const = default;
};

struct Route {
  std::uint32_t table = 0;
  Prefix destination;
  std::uint32_t metric = 0;
  std::vector<RouteTarget> targets;  // one for each path
};

// What has been said about a route.
struct RouteChange {
  enum class Kind : std::uint8_t { kAdds, kReplaces, kAppends, kRemoves };
  Kind kind = Kind::kAdds;
  Route route;
};

// One of `ip rule`'s. Conditions on packets of others (iif) never hold for the relay's own, and
// those that the relay's packets can't meet (a mark) neither: `others_hold` is what is left of
// them.
struct Rule {
  enum class Action : std::uint8_t { kTable, kGoto, kNothing, kForbids };
  Action action = Action::kTable;
  std::uint32_t priority = 0;
  std::uint32_t argument = 0;  // the table, or the priority to go on from
  Prefix source, destination;
  int suppressed_length = -1;  // a route whose prefix is no longer than this doesn't count
  bool inverted = false;
  bool others_hold = true;
  bool by_device = false;  // the table is that of the source's VRF

  bool operator==(const Rule&) const = default;
};

class RouteTables {
 public:
  // True if the best target of the route's prefix is another one now, in a table that a rule names.
  // Sets `doubtful` where the change can't be followed.
  bool take(const RouteChange& change, bool& doubtful);
  // Only known rules count; a family without any has the kernel's three.
  bool add(Family family, const Rule& rule);
  bool remove(Family family, const Rule& rule);
  // Tables of VRFs: the one that has the source as its own is the source's.
  void set_device_tables(std::vector<std::uint32_t> tables) { device_tables_ = std::move(tables); }

  // Interfaces that lead to a port. Of routes to one prefix, one through them comes before a
  // cheaper one that leads elsewhere: a host may have a default route of its own, for itself.
  void set_ways(std::set<std::uint32_t> interfaces) { ways_ = std::move(interfaces); }

  struct Found {
    const RouteTarget* target = nullptr;
    int length = 0;  // of its prefix
  };
  Found find_with_length(const Address& source, const Address& destination) const;
  const RouteTarget* find(const Address& source, const Address& destination) const {
    return find_with_length(source, destination).target;
  }

 private:
  // Key: prefix, then metric, so that the best route of a prefix comes first. Value: never empty;
  // the first that fits is used, the others take over when it goes.
  using Routes = std::map<std::pair<Address, std::uint32_t>, std::vector<RouteTarget>>;
  using Table = std::array<std::array<Routes, 129>, 2>;  // by family_index() and prefix length

  const RouteTarget* best_of(const Routes& routes, const Address& prefix,
                             const Address& source) const;
  bool goes_nowhere(const RouteTarget& target) const {
    return target.kind == RouteTarget::Kind::kLeads && ways_.count(target.interface) == 0;
  }
  Found find_in(std::uint32_t table, const Address& source, const Address& destination) const;
  std::uint32_t device_table_of(const Address& source) const;
  const std::vector<Rule>& rules_of(Family family) const;
  bool is_consulted(Family family, std::uint32_t table) const;

  std::map<std::uint32_t, Table> tables_;
  std::array<std::vector<Rule>, 2> rules_;  // by family_index(), in order
  std::vector<std::uint32_t> device_tables_;
  std::set<std::uint32_t> ways_;
};

}  // namespace turnpike::kernel
