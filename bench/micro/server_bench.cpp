// Authenticated Allocate transactions, and CreatePermissions, per CPU second of one engine shard:
// the whole of what its thread does for one, from the request's bytes to the published flow and the
// signed answer. Each is a client of its own; the users are a thousand, so that no key is the one
// before. `allocates_per_s` counts the CPU time within the server alone: requests are made
// beforehand.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "cycles.h"
#include "node.h"
#include "policy/peer_rules.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"

namespace turnpike::bench {
namespace {

constexpr std::uint32_t kUsers = 1000;
constexpr std::uint32_t kBatch = 1024;
constexpr std::uint32_t kRelayed = 16;
constexpr std::uint32_t kAllocations = 256;  // that make permissions
const Realm kRealm{.name = "example.org", .sha256_offered = false, .password_algorithms = false};

std::string user_name(std::uint32_t n) {
  return "user" + std::to_string(n % kUsers);
}
stun::Key key_of(std::uint32_t n) {
  return stun::long_term_key(stun::PasswordAlgorithm::kMd5, user_name(n), kRealm.name, "secret");
}

class Host final : public ServerHost {
 public:
  explicit Host(FlowSink& sink) : sink_(sink) {
    for (std::uint32_t n = 0; n < kUsers; ++n) {
      UserKeys keys;
      keys.username = keys.quota_name = user_name(n);
      keys.md5 = {key_of(n)};
      users_.emplace(keys.username, keys);
    }
  }
  void reply(RequestToken, stun::Bytes message) override {
    // Class bits of a success: 0x0100.
    if ((message[0] & 1) == 1 && (message[1] & 0x10) == 0) ++successes;
  }
  void discard(RequestToken, Discard) override {}
  KeyState find_keys(const UserName& user, RealmIndex, KeyPurpose, UserKeys& out) override {
    out = users_.at(std::string(user.username));
    return KeyState::kFound;
  }
  void unauthorized(const ClientEndpoint& /*client*/, Unauthorized /*reason*/) override {}
  PeerVerdict check_peer(RealmIndex, const Address& /*relayed*/, const Address& peer) override {
    return rules == nullptr ? PeerVerdict::kAllowed : rules->judge(peer);
  }
  std::uint32_t random_below(std::uint32_t bound) override {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>((state_ >> 33) % bound);
  }
  FlowSink& flows() override { return sink_; }

  std::uint64_t successes = 0;
  const policy::PeerRules* rules = nullptr;

 private:
  FlowSink& sink_;
  std::map<std::string, UserKeys> users_;
  std::uint64_t state_ = 1;
};

// With what `add` adds, and the nonce and signature of `user`.
template <typename Add>
std::vector<std::uint8_t> signed_request(const NonceKeeper& nonces, Instant now,
                                         const Endpoint& client, stun::Method method,
                                         std::uint32_t n, std::uint32_t user, Add add) {
  std::array<char, NonceKeeper::kMaxSize> nonce;
  const std::size_t nonce_size = nonces.mint(now, kRealm, client, kListener, nonce);
  std::array<std::uint8_t, 512> buffer{};
  stun::TransactionId id{};
  std::memcpy(id.data(), &n, sizeof n);
  stun::MessageWriter writer(buffer, stun::Class::kRequest, method, id);
  add(writer);
  writer.add_text(stun::Attribute::kUsername, user_name(user));
  writer.add_text(stun::Attribute::kRealm, kRealm.name);
  writer.add_text(stun::Attribute::kNonce, {nonce.data(), nonce_size});
  writer.add_message_integrity(key_of(user).view());
  const auto bytes = writer.finish();
  return {bytes.begin(), bytes.end()};
}

std::vector<std::uint8_t> allocate_request(const NonceKeeper& nonces, Instant now,
                                           const Endpoint& client, std::uint32_t n) {
  return signed_request(nonces, now, client, stun::Method::kAllocate, n, n,
                        [](stun::MessageWriter& writer) {
                          writer.add_u8_rfffu(stun::Attribute::kRequestedTransport, 17);
                        });
}

std::vector<std::uint8_t> permission_request(const NonceKeeper& nonces, Instant now,
                                             const Endpoint& client, std::uint32_t n,
                                             const Address& peer) {
  // The user of the client's allocation.
  return signed_request(nonces, now, client, stun::Method::kCreatePermission, n, n % kAllocations,
                        [&](stun::MessageWriter& writer) {
                          writer.add_xor_address(stun::Attribute::kXorPeerAddress, {peer, 7000});
                        });
}

void allocate(benchmark::State& state) {
  constexpr std::uint32_t kLimit = kRelayed * 8192;
  ServerConfig config;
  config.realms = {kRealm};
  config.software = "Turnpike";
  config.max_allocations = kLimit;
  for (std::uint32_t i = 0; i < kRelayed; ++i)
    config.relayed.push_back({numbered(Family::kIpv4, 192, i), std::nullopt});
  TableLimits limits;
  limits.allocations_per_shard = limits.permissions_per_shard = limits.channels_per_shard = kLimit;
  Tables tables(limits, config.relayed, std::vector<Listener>{{kListener}}, kKey, {});
  Qsbr qsbr;
  OneRoute routes;
  TableWriter writer(tables, 0, qsbr, routes);
  Host host(writer);
  const NonceKeeper nonces({.key = {1}});
  const TokenSealer tokens({2});
  QuotaLedger quotas(0, kLimit, false);
  Server server(config, host, nonces, tokens, quotas);

  std::uint32_t n = 0;
  std::uint64_t asked = 0;
  double seconds = 0;
  Instant now{1'000'000};
  for (auto _ : state) {
    struct Request {
      FiveTuple five_tuple;
      std::vector<std::uint8_t> bytes;
    };
    std::vector<Request> requests(kBatch);
    for (Request& request : requests) {
      request.five_tuple.client = ClientEndpoint{{numbered(Family::kIpv4, 10, n), 5000}};
      request.five_tuple.server = kListener;
      request.bytes = allocate_request(nonces, now, request.five_tuple.client, n++);
    }
    timespec begin{}, end{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    for (std::size_t i = 0; i < requests.size(); ++i)
      server.handle(now, requests[i].five_tuple, requests[i].bytes, RequestToken{i});
    writer.housekeeping();
    server.tick(now);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    const double took = static_cast<double>(end.tv_sec - begin.tv_sec) +
                        static_cast<double>(end.tv_nsec - begin.tv_nsec) / 1e9;
    seconds += took;
    asked += kBatch;
    state.SetIterationTime(took);
    // All that were made end before there are too many; that is not counted.
    if (asked % (kLimit / 2) == 0) {
      for (int minute = 0; minute < 15; ++minute) {
        now = now + 60'000;
        while (server.tick(now)) {
        }
      }
      while (writer.retired() != 0)
        writer.housekeeping();
    }
  }
  if (host.successes != asked) state.SkipWithError("an Allocate was refused");
  state.SetItemsProcessed(static_cast<std::int64_t>(asked));
  state.counters["allocates_per_s"] = static_cast<double>(asked) / seconds;
}

// All over 20.0.0.0/6: the n-th even address, as a list has them, and the odd one beside it.
Address listed(std::uint32_t n) {
  const std::uint32_t low = n * 2654435761U & 0x03FF'FFFE;
  return Address::v4(static_cast<std::uint8_t>(20 + (low >> 24)),
                     static_cast<std::uint8_t>(low >> 16), static_cast<std::uint8_t>(low >> 8),
                     static_cast<std::uint8_t>(low));
}
Address unlisted(std::uint32_t n) {
  Address address = listed(n);
  address.bytes[3] |= 1;
  return address;
}

policy::PeerRules deny_listed(std::size_t count) {
  policy::PeerRules::Config config;
  for (std::uint32_t n = 0; n < count; ++n)
    config.deny.push_back({listed(n), 32});
  return policy::PeerRules(config);
}

// Each for a peer of its own among denied ones, by one allocation after the other, until each has
// as many as a client may want; then for these again.
void create_permission(benchmark::State& state) {
  constexpr std::uint32_t kPeers = 16 * kAllocations;
  const policy::PeerRules rules = deny_listed(static_cast<std::size_t>(state.range(0)));
  ServerConfig config;
  config.realms = {kRealm};
  config.relayed = {{numbered(Family::kIpv4, 192, 0), std::nullopt}};
  TableLimits limits;
  limits.allocations_per_shard = limits.channels_per_shard = kAllocations;
  limits.permissions_per_shard = kPeers;
  Tables tables(limits, config.relayed, std::vector<Listener>{{kListener}}, kKey, {});
  Qsbr qsbr;
  OneRoute routes;
  TableWriter writer(tables, 0, qsbr, routes);
  Host host(writer);
  host.rules = &rules;
  const NonceKeeper nonces({.key = {1}});
  const TokenSealer tokens({2});
  QuotaLedger quotas(0, kAllocations, false);
  Server server(config, host, nonces, tokens, quotas);
  const Instant now{1'000'000};
  const auto client_of = [](std::uint32_t i) {
    return FiveTuple{ClientEndpoint{{numbered(Family::kIpv4, 10, i % kAllocations), 5000}},
                     kListener};
  };
  for (std::uint32_t i = 0; i < kAllocations; ++i)
    server.handle(now, client_of(i), allocate_request(nonces, now, client_of(i).client, i),
                  RequestToken{i});
  std::vector<std::vector<std::uint8_t>> requests;
  for (std::uint32_t i = 0; i < kPeers; ++i)
    requests.push_back(permission_request(nonces, now, client_of(i).client, i, unlisted(i)));
  std::uint32_t n = 0;
  for (auto _ : state) {
    server.handle(now, client_of(n), requests[n % kPeers], RequestToken{n});
    if (++n % 64 == 0) writer.housekeeping();
  }
  if (host.successes != kAllocations + std::uint64_t{n})
    state.SkipWithError("a CreatePermission was refused");
  state.SetItemsProcessed(n);
}

BENCHMARK(create_permission)->Arg(10)->Arg(200'000);
BENCHMARK(allocate)->UseManualTime();

}  // namespace
}  // namespace turnpike::bench

BENCHMARK_MAIN();
