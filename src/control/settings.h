// From the configuration to each part's own settings: no part knows the configuration, and it knows
// no part.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "auth/credentials.h"
#include "config/config.h"
#include "control/policy.h"
#include "dataplane/dataplane.h"
#include "engine/random_source.h"
#include "flow/pipeline.h"
#include "kernel/host_addresses.h"
#include "tables/tables.h"
#include "transport/dtls_thread.h"
#include "transport/transport.h"
#include "turnpike/listener.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/server.h"

namespace turnpike::control {

// From the kernel's generator. Throws std::runtime_error.
template <typename T>
T random_bytes() {
  T value{};
  engine::fill_random({reinterpret_cast<std::uint8_t*>(&value), sizeof value});
  return value;
}

dataplane::Options dataplane_options(const config::Config& config);
std::vector<Listener> listeners(const config::Config& config);
flow::TableLimits table_limits(const config::Config& config);
// Of a user who may have so many allocations: as much as these have on average, and what a single
// one may have. 0: no limit.
UserLimits user_limits(const config::Config& config, std::uint32_t allocations);
// Whether one user can keep others from what there is; empty: no.
std::string why_one_user_can_take_all(const config::Config& config,
                                      const flow::TableLimits& limits);
// The policy's part of it is left to make_policy().
ServerConfig server_config(const config::Config& config, const flow::TableLimits& limits,
                           std::uint8_t shard);
// Where datagrams of clients come to.
std::vector<Endpoint> datagram_listeners(const config::Config& config);
// With a random key, where clients come by TCP.
transport::Gate::Config gate_config(const config::Config& config, const ClientSpread& spread);
transport::DtlsThread::Config dtls_config(const config::Config& config, const flow::Setup& setup);
// With a random key.
NonceKeeper::Config nonce_config(const config::Config& config);
// Of each realm's users, by RealmIndex.
using RealmCredentials = std::vector<std::shared_ptr<const auth::Credentials>>;
RealmCredentials credentials_of(const config::Config& config);
// What prefixes say of peers and clients, which may be very many: made once, and part of each
// policy that is made of the same configuration.
struct PrefixRules {
  struct Peers {
    policy::PrefixSet allowed, denied;  // of files
  };
  std::vector<Peers> peers;  // by RealmIndex
  policy::ClientRules clients;
};
PrefixRules prefix_rules(const config::Config& config);
// As things stand: what of it changes afterwards takes another one, of the same `nonces`.
std::unique_ptr<const Policy> make_policy(
    const config::Config& config, const RealmCredentials& credentials,
    const std::shared_ptr<const policy::PayloadRules>& payload,
    const std::shared_ptr<const policy::IdentityRules>& identity, const NonceKeeper& nonces,
    const PrefixRules& prefixes, const kernel::HostAddresses& host);
// All that the configuration says of it; ports are the caller's.
flow::Setup flow_setup(const config::Config& config);

}  // namespace turnpike::control
