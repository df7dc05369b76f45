// A shard of the cluster's, and what stands around it: the cluster's flows, keys and judges.
#pragma once

#include <memory>

#include "cluster.h"

namespace turnpike::simulation {

class Cluster::Shard final : public ServerHost {
 public:
  Shard(Cluster& cluster, std::size_t index)
      : sink(
            cluster.ports_, [&cluster] { return cluster.surroundings_.sink_is_full(); },
            cluster.setup_.sinks.empty() ? nullptr : cluster.setup_.sinks[index]),
        cluster_(cluster),
        index_(index) {
    ServerConfig config = cluster.setup_.config;
    config.shard = static_cast<std::uint8_t>(index);
    config.shard_count = static_cast<std::uint8_t>(cluster.setup_.shards);
    server =
        std::make_unique<Server>(config, *this, cluster.nonces_, cluster.tokens_, cluster.quotas_);
  }

  void reply(RequestToken token, stun::Bytes message) override {
    cluster_.answered(this, token, message);
  }
  void discard(RequestToken token, Discard /*reason*/) override { cluster_.take(token); }
  KeyState find_keys(const UserName& user, RealmIndex /*realm*/, KeyPurpose purpose,
                     UserKeys& out) override {
    return cluster_.surroundings_.find_keys(index_, user, purpose, out);
  }
  void unauthorized(const ClientEndpoint& /*client*/, Unauthorized /*reason*/) override {}
  PeerVerdict check_peer(RealmIndex /*realm*/, const Address& /*relayed*/,
                         const Address& peer) override {
    return peer == kForbidden ? PeerVerdict::kForbidden : PeerVerdict::kAllowed;
  }
  IdentityVerdict judge_identity(const IdentityAttributes& attributes) override {
    const User* user = find_user(cluster_.setup_.users, {attributes.username, std::nullopt});
    require(user != nullptr, "nobody's identity is judged");
    return {.limits = cluster_.surroundings_.limits_of(*user)};
  }
  std::uint32_t random_below(std::uint32_t bound) override {
    return cluster_.surroundings_.random_below(bound);
  }
  FlowSink& flows() override { return sink; }

  FakeSink sink;
  std::unique_ptr<Server> server;
  std::uint64_t handed = 0;  // requests

 private:
  Cluster& cluster_;
  const std::size_t index_;
};

}  // namespace turnpike::simulation
