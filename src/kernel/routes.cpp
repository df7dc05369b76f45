// Rules by priority, then the longest prefix: as the kernel looks them up.
#include "kernel/routes.h"

#include <algorithm>

namespace turnpike::kernel {
namespace {

const std::vector<Rule>& usual_rules() {
  static const std::vector<Rule> rules = [] {
    Rule local, main, last;
    local.argument = kTableLocal;
    main.priority = 32766;
    main.argument = kTableMain;
    last.priority = 32767;
    last.argument = kTableDefault;
    return std::vector<Rule>{local, main, last};
  }();
  return rules;
}

bool matches(const Rule& rule, const Address& source, const Address& destination) {
  const bool holds =
      rule.others_hold && rule.source.contains(source) && rule.destination.contains(destination);
  return holds != rule.inverted;
}

}  // namespace

Address masked(const Address& address, unsigned length) {
  Address result = address;
  for (unsigned byte = 0; byte < address.size(); ++byte) {
    const unsigned bits = length > 8 * byte ? std::min(length - 8 * byte, 8U) : 0;
    result.bytes[byte] = static_cast<std::uint8_t>(result.bytes[byte] & 0xFF00U >> bits);
  }
  return result;
}

// A prefix of length 0 is everything, whatever family its address claims.
bool Prefix::contains(const Address& other) const {
  return length == 0 || (other.family == address.family && masked(other, length) == address);
}

const std::vector<Rule>& RouteTables::rules_of(Family family) const {
  const std::vector<Rule>& known = rules_[family_index(family)];
  return known.empty() ? usual_rules() : known;
}

bool RouteTables::is_consulted(Family family, std::uint32_t table) const {
  const std::vector<Rule>& rules = rules_of(family);
  return std::any_of(rules.begin(), rules.end(), [&](const Rule& rule) {
    return rule.by_device || (rule.action == Rule::Action::kTable && rule.argument == table);
  });
}

// Of routes to one prefix: the one for the closest sources, then one that leads to a port, then the
// one with the least metric.
const RouteTarget* RouteTables::best_of(const Routes& routes, const Address& prefix,
                                        const Address& source) const {
  const RouteTarget* best = nullptr;
  for (auto at = routes.lower_bound({prefix, 0}); at != routes.end() && at->first.first == prefix;
       ++at) {
    for (const RouteTarget& target : at->second) {
      if (!target.source.contains(source)) continue;
      const bool better = best == nullptr || target.source.length > best->source.length ||
                          (target.source.length == best->source.length && goes_nowhere(*best) &&
                           !goes_nowhere(target));
      if (better) best = &target;
    }
  }
  return best;
}

RouteTables::Found RouteTables::find_in(std::uint32_t table, const Address& source,
                                        const Address& destination) const {
  const auto known = tables_.find(table);
  if (known == tables_.end()) return {};
  const auto& by_length = known->second[family_index(destination.family)];
  for (int length = static_cast<int>(8 * destination.size()); length >= 0; --length) {
    const Routes& routes = by_length[static_cast<std::size_t>(length)];
    if (routes.empty()) continue;
    const Address prefix = masked(destination, static_cast<unsigned>(length));
    if (const RouteTarget* target = best_of(routes, prefix, source)) return {target, length};
  }
  return {};
}

std::uint32_t RouteTables::device_table_of(const Address& source) const {
  for (const std::uint32_t table : device_tables_) {
    const RouteTarget* target = find_in(table, source, source).target;
    if (target != nullptr && target->kind == RouteTarget::Kind::kHere) return table;
  }
  return 0;
}

RouteTables::Found RouteTables::find_with_length(const Address& source,
                                                 const Address& destination) const {
  static const RouteTarget kForbidden{RouteTarget::Kind::kForbids, 0, 0, std::nullopt, {}};
  std::uint32_t from_priority = 0;
  for (const Rule& rule : rules_of(destination.family)) {
    if (rule.priority < from_priority || !matches(rule, source, destination)) continue;
    if (rule.action == Rule::Action::kForbids) return {&kForbidden, 0};
    if (rule.action == Rule::Action::kGoto) from_priority = rule.argument;
    if (rule.action != Rule::Action::kTable) continue;
    const std::uint32_t table = rule.by_device ? device_table_of(source) : rule.argument;
    const Found found = find_in(table, source, destination);
    if (found.target == nullptr || found.target->kind == RouteTarget::Kind::kThrows) continue;
    if (found.length <= rule.suppressed_length) continue;
    return found;
  }
  return {};
}

// Several routes may have one prefix and metric, and a route several paths. Here all of these are
// one list; where that can't say what a replaced route leaves, all must be read anew.
bool RouteTables::take(const RouteChange& change, bool& doubtful) {
  const Route& route = change.route;
  const Address& prefix = route.destination.address;
  Routes& routes = tables_[route.table][family_index(prefix.family)][route.destination.length];
  // Of those for all sources; the others are told of whenever they change.
  const auto first = [&]() -> std::optional<RouteTarget> {
    Address any;
    any.family = prefix.family;
    const RouteTarget* best = best_of(routes, prefix, any);
    return best == nullptr ? std::nullopt : std::optional(*best);
  };
  const std::optional<RouteTarget> before = first();
  std::vector<RouteTarget>& targets = routes[{prefix, route.metric}];
  bool by_source = std::any_of(targets.begin(), targets.end(),
                               [](const RouteTarget& one) { return one.source.length != 0; });
  if (change.kind == RouteChange::Kind::kReplaces) {
    doubtful |= targets.size() > 1;
    targets.clear();
  }
  auto place = change.kind == RouteChange::Kind::kAppends ? targets.size() : 0;
  for (const RouteTarget& target : route.targets) {
    by_source |= target.source.length != 0;
    const auto known = std::find(targets.begin(), targets.end(), target);
    if (change.kind == RouteChange::Kind::kRemoves) {
      if (known != targets.end()) targets.erase(known);
    } else if (known == targets.end()) {
      targets.insert(targets.begin() + static_cast<std::ptrdiff_t>(place++), target);
    }
  }
  if (targets.empty()) routes.erase({prefix, route.metric});
  return (by_source || before != first()) && is_consulted(prefix.family, route.table);
}

bool RouteTables::add(Family family, const Rule& rule) {
  std::vector<Rule>& rules = rules_[family_index(family)];
  if (std::find(rules.begin(), rules.end(), rule) != rules.end()) return false;
  const auto behind =
      std::upper_bound(rules.begin(), rules.end(), rule,
                       [](const Rule& a, const Rule& b) { return a.priority < b.priority; });
  rules.insert(behind, rule);
  return true;
}

bool RouteTables::remove(Family family, const Rule& rule) {
  std::vector<Rule>& rules = rules_[family_index(family)];
  const auto known = std::find(rules.begin(), rules.end(), rule);
  if (known == rules.end()) return false;
  rules.erase(known);
  return true;
}

}  // namespace turnpike::kernel
