// Who comes to the flow simulation, and whereto.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster.h"
#include "turnpike/listener.h"

namespace turnpike::simulation {

constexpr std::uint32_t kClients = 12, kByDatagrams = 9, kUsers = 4;
inline const Endpoint kServer{Address::v4(192, 0, 2, 1), 3478};

inline std::vector<Listener> listeners() {
  return {{kServer}, {.endpoint = kServer, .transport = Transport::kTcp}};
}

inline const std::vector<User>& users() {
  static const std::vector<User> all = [] {
    std::vector<User> made;
    for (std::uint32_t i = 0; i < kUsers; ++i)
      made.push_back(make_user("user" + std::to_string(i), "secret"));
    return made;
  }();
  return all;
}

inline ListenerIndex listener_of(std::uint32_t client) {
  return client < kByDatagrams ? 0 : 1;
}
// Some come by streams: of those it is the ends that matter here.
inline FiveTuple five_tuple(std::uint32_t client) {
  const Endpoint from{Address::v4(198, 51, 100, static_cast<std::uint8_t>(client)), 40000};
  return listeners()[listener_of(client)].five_tuple(ClientEndpoint{from});
}

inline std::uint32_t user_of(const FiveTuple& five_tuple) {
  return five_tuple.client.address.bytes[3] % kUsers;
}

}  // namespace turnpike::simulation
