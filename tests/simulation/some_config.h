// What shards of a run are configured to: of everything sometimes plenty, and sometimes so little
// that it is missed.
#pragma once

#include <cstdint>
#include <functional>

#include "cluster.h"

namespace turnpike::simulation {

// `below`: a random number below a bound.
inline ServerConfig some_config(const std::function<std::uint32_t(std::uint32_t)>& below,
                                unsigned shards, const ServerPolicy::Redirect& redirect) {
  ServerConfig config;
  config.realms = {{.name = kRealm, .strict_expiry = below(2) == 0}};
  config.relayed = {{kInternal4, kExternal4}};
  if (below(3) != 0) config.relayed.push_back({kInternal6, std::nullopt});
  config.port_min = 50048;
  // Many, few, and so few that a shard has only the beginning of a block.
  const unsigned ports = below(2) == 0 ? 64 * 30 : below(2) == 0 ? 64 * 3 : 64 * shards - 48;
  config.port_max = static_cast<std::uint16_t>(50047 + ports);
  config.max_allocations = below(2) == 0 ? 25 : 1000;
  config.max_permissions_per_allocation = 4;
  config.max_channels_per_allocation = 4;
  config.max_parked = 8;
  config.redirects = {redirect};
  config.mobility = below(4) != 0;
  return config;
}

}  // namespace turnpike::simulation
