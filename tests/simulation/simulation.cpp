// Hundreds of clients against the front door and one or three shards, in virtual time, from one
// seed: requests are lost, doubled, reordered, sent from a rebound NAT address or made of noise.
// After every step the flows that the servers have opened are held against a model so small that it
// is plainly right: what a success promised, for as long as it promised.
//
//   simulation SHARDS RUNS SEEDS-FILE
//
// Prints the seed of a failing run and ends with 1.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "turn/counters.h"
#include "turn/quota.h"
#include "turnpike/server.h"
#include "wire/front_door.h"
#include "wire/nonce.h"
#include "wire/reservation_token.h"

namespace {

using namespace turnpike;
using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr const char* kRealm = "example.org";
constexpr std::uint32_t kQuota = 5;
constexpr int kClients = 200;
constexpr int kSteps = 4000;
const Endpoint kServer{Address::v4(192, 0, 2, 1), 3478};
const Address kForbidden = Address::v4(10, 0, 0, 1);

struct Failure {
  std::string what;
};
void require(bool condition, const char* what) {
  if (!condition) throw Failure{what};
}

using Client = std::pair<ClientEndpoint, int>;  // where it is seen, who it is

// The model: what successes have promised, by client.
struct Promise {
  std::uint32_t until_s = 0;
  std::string user;
  std::map<Address, std::uint32_t> permissions;
  std::map<Endpoint, std::uint32_t> channels;
};

// One shard's flows, as plain maps; relay ports are common to all shards.
class Sink final : public FlowSink {
 public:
  explicit Sink(std::set<RelayEndpoint>& ports) : ports_(ports) {}
  std::optional<AllocationSlot> publish_allocation(const AllocationFlow& flow) override {
    for (const auto& relayed : flow.relayed) {
      if (relayed) require(ports_.insert(*relayed).second, "a relay port has two owners");
    }
    allocations[next_] = flow;
    return AllocationSlot{next_++};
  }
  std::optional<PermissionSlot> publish_permission(const PermissionFlow& flow) override {
    require(allocations.contains(static_cast<std::uint32_t>(flow.allocation)),
            "a permission without allocation");
    permissions[next_] = flow;
    return PermissionSlot{next_++};
  }
  std::optional<ChannelSlot> publish_channel(const ChannelFlow& flow) override {
    require(permissions.contains(static_cast<std::uint32_t>(flow.permission)),
            "a channel without permission");
    channels[next_] = flow;
    return ChannelSlot{next_++};
  }
  void extend_relayed(AllocationSlot slot, Family family, std::uint32_t expires_s) override {
    allocations.at(static_cast<std::uint32_t>(slot)).expires_s[family_index(family)] = expires_s;
  }
  void extend_permission(PermissionSlot slot, std::uint32_t expires_s) override {
    permissions.at(static_cast<std::uint32_t>(slot)).expires_s = expires_s;
  }
  void extend_channel(ChannelSlot slot, std::uint32_t expires_s) override {
    channels.at(static_cast<std::uint32_t>(slot)).expires_s = expires_s;
  }
  void withdraw_relayed(AllocationSlot slot, Family family) override {
    auto& relayed = allocations.at(static_cast<std::uint32_t>(slot)).relayed[family_index(family)];
    require(relayed && ports_.erase(*relayed) == 1, "a relay port given back twice");
    relayed.reset();
  }
  void withdraw_channel(ChannelSlot slot) override {
    channels.erase(static_cast<std::uint32_t>(slot));
  }
  void withdraw_permission(PermissionSlot slot) override {
    permissions.erase(static_cast<std::uint32_t>(slot));
    for (const auto& [id, channel] : channels)
      require(channel.permission != slot, "a channel outlives its permission's slot");
  }
  void withdraw_allocation(AllocationSlot slot) override {
    allocations.erase(static_cast<std::uint32_t>(slot));
  }

  std::map<std::uint32_t, AllocationFlow> allocations;
  std::map<std::uint32_t, PermissionFlow> permissions;
  std::map<std::uint32_t, ChannelFlow> channels;

 private:
  std::set<RelayEndpoint>& ports_;
  std::uint32_t next_ = 1;
};

class Simulation;

class Shard final : public ServerHost {
 public:
  Shard(Simulation& world, std::set<RelayEndpoint>& ports) : sink(ports), world_(world) {}
  void reply(RequestToken token, stun::Bytes message) override;
  void discard(RequestToken token, Discard) override;
  KeyState find_keys(const UserName& user, std::string_view realm, KeyPurpose,
                     UserKeys& out) override;
  PeerVerdict check_peer(const Address& peer) override {
    return peer == kForbidden ? PeerVerdict::kForbidden : PeerVerdict::kAllowed;
  }
  std::uint32_t random_below(std::uint32_t bound) override;
  FlowSink& flows() override { return sink; }

  Sink sink;
  std::unique_ptr<Server> server;

 private:
  Simulation& world_;
};

class Simulation {
 public:
  Simulation(std::uint64_t seed, unsigned shards) : random(seed) {
    for (unsigned i = 0; i < shards; ++i) {
      shards_.push_back(std::make_unique<Shard>(*this, ports_));
      ServerConfig config;
      config.realm = kRealm;
      config.relayed = {{Address::v4(192, 0, 2, 2), std::nullopt}};
      config.port_min = 50048;
      config.port_max = 50047 + 64 * 6;
      config.max_allocations = 100;
      config.shard = static_cast<std::uint8_t>(i);
      config.shard_count = static_cast<std::uint8_t>(shards);
      shards_.back()->server =
          std::make_unique<Server>(config, *shards_.back(), nonces_, tokens_, quotas_);
    }
    for (int i = 0; i < kClients; ++i)
      place(i);
  }

  void run() {
    for (int step = 0; step < kSteps; ++step) {
      now_.ms += below(2000);
      if (below(50) == 0) place(static_cast<int>(below(kClients)));  // a NAT forgets
      if (below(200) == 0) now_.ms += 350'000;                       // everybody falls silent
      for (const auto& shard : shards_)
        shard->server->tick(now_);
      queue(make_request(static_cast<int>(below(kClients))));
      deliver();
      if (step % 8 == 0) check();
    }
    check();
  }

  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); }

  struct Sent {
    ClientEndpoint from;
    std::vector<std::uint8_t> bytes;
  };

  void answered(RequestToken token, stun::Bytes message) {
    const auto found = open_.find(token);
    require(found != open_.end(), "a request is answered twice");
    const Sent sent = std::move(found->second);
    open_.erase(found);
    MessageView answer;
    require(MessageView::parse(message, answer) == stun::ParseError::kNone,
            "an answer is not STUN");
    if (answer.has(Attribute::kNonce))
      nonce_[sent.from] = std::string(*answer.text(Attribute::kNonce));
    if (answer.message_class() == Class::kSuccess) promise(sent, answer);
  }
  void given_up(RequestToken token) {
    require(open_.erase(token) == 1, "a request is given up twice");
  }

  std::mt19937_64 random;

 private:
  static std::string user_of(int client) { return "user" + std::to_string(client % 40); }

  void place(int client) {
    where_[client] =
        ClientEndpoint{{Address::v4(198, 51, 100, static_cast<std::uint8_t>(below(250))),
                        static_cast<std::uint16_t>(1024 + below(60000))}};
  }

  Sent make_request(int client) {
    const ClientEndpoint from = where_[client];
    if (below(20) == 0) {
      Sent noise{from, {}};
      for (std::uint32_t i = below(80); i > 0; --i)
        noise.bytes.push_back(static_cast<std::uint8_t>(below(256)));
      return noise;
    }
    static constexpr std::array<Method, 6> kMix{Method::kAllocate,    Method::kAllocate,
                                                Method::kRefresh,     Method::kCreatePermission,
                                                Method::kChannelBind, Method::kChannelBind};
    const Method method = kMix[below(kMix.size())];
    std::array<std::uint8_t, 512> buffer{};
    stun::TransactionId id{};
    const std::uint64_t number = random();
    std::memcpy(id.data(), &number, sizeof number);
    MessageWriter writer(buffer, Class::kRequest, method, id);
    const Address peer =
        below(30) == 0 ? kForbidden : Address::v4(203, 0, 113, static_cast<std::uint8_t>(below(6)));
    if (method == Method::kAllocate)
      writer.add_u8_rfffu(Attribute::kRequestedTransport, below(40) == 0 ? 6 : 17);
    if (method == Method::kAllocate && below(4) == 0) {
      const std::array<std::uint8_t, 1> pair{static_cast<std::uint8_t>(below(2) == 0 ? 0x80 : 0)};
      writer.add(Attribute::kEvenPort, pair);
    }
    if (method == Method::kRefresh)
      writer.add_u32(Attribute::kLifetime, below(3) == 0 ? 0 : below(5000));
    if (method == Method::kChannelBind) {
      // Each number has its peer port, so that most bindings succeed; sometimes another's.
      const auto channel = static_cast<std::uint16_t>(0x4000 + below(8));
      writer.add_channel_number(channel);
      writer.add_xor_address(Attribute::kXorPeerAddress,
                             {peer, static_cast<std::uint16_t>(1000 + below(8))});
    }
    if (method == Method::kCreatePermission) {
      for (std::uint32_t i = below(3); i < 3; ++i)
        writer.add_xor_address(Attribute::kXorPeerAddress, {peer, 0});
    }
    const auto nonce = nonce_.find(from);
    if (nonce != nonce_.end()) {
      // Sometimes as somebody else, sometimes with a wrong password.
      const std::string user = user_of(below(40) == 0 ? client + 1 : client);
      writer.add_text(Attribute::kUsername, user);
      writer.add_text(Attribute::kRealm, kRealm);
      writer.add_text(Attribute::kNonce, nonce->second);
      writer.add_message_integrity(stun::long_term_key(stun::PasswordAlgorithm::kMd5, user, kRealm,
                                                       below(40) == 0 ? "guess" : "secret")
                                       .view());
    }
    const auto bytes = writer.finish();
    Sent sent{from, {bytes.begin(), bytes.end()}};
    if (below(25) == 0)
      sent.bytes[below(static_cast<std::uint32_t>(sent.bytes.size()))] ^=
          static_cast<std::uint8_t>(1U << below(8));
    return sent;
  }

  void queue(Sent sent) {
    if (below(10) == 0) return;                 // lost
    if (below(10) == 0) wire_.push_back(sent);  // doubled
    if (below(10) == 0) {
      wire_.push_front(std::move(sent));  // overtakes
    } else {
      wire_.push_back(std::move(sent));
    }
  }

  void deliver() {
    while (!wire_.empty() && below(4) != 0) {
      const Sent sent = std::move(wire_.front());
      wire_.pop_front();
      MessageView message;
      if (sent.bytes.empty() || MessageView::parse(sent.bytes, message) != stun::ParseError::kNone)
        continue;
      const auto owner = owner_of(sent.from);
      std::array<std::uint8_t, 576> answer{};
      const DoorResult result =
          door_.answer(now_, message, sent.from, kServer, owner.has_value(), answer);
      const RequestToken token{++tokens_made_};
      if (result.door == Door::kAnswered) {
        open_[token] = sent;
        answered(token, stun::Bytes(answer).first(result.size));
      }
      if (result.door != Door::kAdmit) continue;
      std::size_t shard =
          owner.value_or(std::hash<std::string>()(sent.from.to_string()) % shards_.size());
      if (const auto reservation = message.find(Attribute::kReservationToken);
          !owner && reservation) {
        if (const auto content = tokens_.open(reservation->value)) shard = content->shard;
      }
      open_[token] = sent;
      shards_[shard]->server->handle(now_, {sent.from, kServer, Transport::kUdp}, sent.bytes,
                                     token);
    }
  }

  // Whose the five-tuple is: what workers read from the client table.
  std::optional<std::size_t> owner_of(const ClientEndpoint& client) const {
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      for (const auto& [slot, flow] : shards_[i]->sink.allocations) {
        if (flow.five_tuple.client == client) return i;
      }
    }
    return std::nullopt;
  }

  void promise(const Sent& sent, const MessageView& answer) {
    MessageView request;
    static_cast<void>(MessageView::parse(sent.bytes, request));
    if (request.method() == Method::kBinding) return;  // one flipped bit from Allocate
    const std::string user(request.text(Attribute::kUsername).value_or(""));
    if (request.method() == Method::kAllocate) {
      Promise& promise = promises_[sent.from];
      if (promise.until_s <= now_s(now_)) promise = {};
      // A retransmission promises nothing new.
      if (promise.until_s == 0) promise.until_s = expiry_s(now_, *answer.u32(Attribute::kLifetime));
      promise.user = user;
    } else if (request.method() == Method::kRefresh) {
      const std::uint32_t lifetime = *answer.u32(Attribute::kLifetime);
      if (lifetime == 0) {
        promises_.erase(sent.from);
      } else {
        promises_.at(sent.from).until_s = expiry_s(now_, lifetime);
      }
    } else {
      Promise& promise = promises_.at(sent.from);
      request.for_each([&](const stun::AttributeView& attribute) {
        const auto peer = request.xor_address(attribute);
        if (attribute.type != static_cast<std::uint16_t>(Attribute::kXorPeerAddress) || !peer)
          return true;
        require(peer->address != kForbidden, "a forbidden peer is let in");
        promise.permissions[peer->address] = expiry_s(now_, 300);
        if (request.method() == Method::kChannelBind) promise.channels[*peer] = expiry_s(now_, 600);
        return request.method() != Method::kChannelBind;
      });
    }
  }

  void check() {
    const std::uint32_t seconds = now_s(now_);
    for (auto one = promises_.begin(); one != promises_.end();) {
      one = one->second.until_s <= seconds ? promises_.erase(one) : std::next(one);
    }
    std::size_t open_permissions = 0, open_channels = 0, promised_permissions = 0,
                promised_channels = 0, allocations = 0;
    std::map<std::string, std::uint32_t> users;
    for (const auto& shard : shards_) {
      const Sink& sink = shard->sink;
      for (const auto& [slot, flow] : sink.allocations) {
        const auto promised = promises_.find(flow.five_tuple.client);
        require(promised != promises_.end() && promised->second.until_s == flow.expires_s[0],
                "an allocation that nobody was promised");
        ++users[promised->second.user];
        ++allocations;
      }
      for (const auto& [slot, flow] : sink.permissions) {
        if (flow.expires_s <= seconds) continue;
        const ClientEndpoint client =
            sink.allocations.at(static_cast<std::uint32_t>(flow.allocation)).five_tuple.client;
        require(promises_.at(client).permissions[flow.peer] == flow.expires_s,
                "a permission that nobody was promised");
        ++open_permissions;
      }
      for (const auto& [slot, flow] : sink.channels) {
        if (flow.expires_s <= seconds) continue;
        const ClientEndpoint client =
            sink.allocations.at(static_cast<std::uint32_t>(flow.allocation)).five_tuple.client;
        require(promises_.at(client).channels[flow.peer] == flow.expires_s,
                "a channel that nobody was promised");
        ++open_channels;
      }
      const ServerCounters& counters = shard->server->counters();
      require(counters.allocations.get() == sink.allocations.size(),
              "the count of allocations is off");
      require(counters.permissions.get() == sink.permissions.size(),
              "the count of permissions is off");
      require(counters.channels.get() == sink.channels.size(), "the count of channels is off");
    }
    for (const auto& [client, promise] : promises_) {
      for (const auto& [peer, until] : promise.permissions)
        promised_permissions += until > seconds;
      for (const auto& [peer, until] : promise.channels)
        promised_channels += until > seconds;
    }
    require(allocations == promises_.size(), "a promised allocation is missing");
    require(open_permissions == promised_permissions, "a promised permission is missing");
    require(open_channels == promised_channels, "a promised channel is missing");
    for (const auto& [user, count] : users) {
      require(count <= kQuota, "a quota is exceeded");
      require(quotas_.count(user) == count, "the ledger is off");
    }
    require(open_.empty(), "a request has no answer");
  }

  Instant now_{1'000'000};
  NonceKeeper nonces_{{.realm = kRealm, .key = {7}}};
  TokenSealer tokens_{{8}};
  QuotaLedger quotas_{kQuota, 0};
  FrontDoor door_{{.realm = kRealm, .software = ""}, nonces_};
  std::set<RelayEndpoint> ports_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::map<int, ClientEndpoint> where_;
  std::map<ClientEndpoint, std::string> nonce_;
  std::map<ClientEndpoint, Promise> promises_;
  std::deque<Sent> wire_;
  std::map<RequestToken, Sent> open_;
  std::uint64_t tokens_made_ = 0;
};

void Shard::reply(RequestToken token, stun::Bytes message) {
  world_.answered(token, message);
}
void Shard::discard(RequestToken token, Discard) {
  world_.given_up(token);
}
std::uint32_t Shard::random_below(std::uint32_t bound) {
  return world_.below(bound);
}
KeyState Shard::find_keys(const UserName& user, std::string_view realm, KeyPurpose, UserKeys& out) {
  if (!user.username.starts_with("user")) return KeyState::kUnknown;
  out.username = out.quota_name = std::string(user.username);
  out.md5 = {stun::long_term_key(stun::PasswordAlgorithm::kMd5, user.username, realm, "secret")};
  return KeyState::kFound;
}

bool run(std::uint64_t seed, unsigned shards) {
  try {
    Simulation(seed, shards).run();
    return true;
  } catch (const Failure& failure) {
    std::fprintf(stderr, "seed %llu with %u shards: %s\n", static_cast<unsigned long long>(seed),
                 shards, failure.what.c_str());
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: simulation SHARDS RUNS SEEDS-FILE\n");
    return 2;
  }
  const auto shards = static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10));
  const auto runs = std::strtoul(argv[2], nullptr, 10);
  bool ok = true;
  std::ifstream seeds(argv[3]);
  for (std::string line; std::getline(seeds, line);) {
    if (!line.empty() && line[0] != '#')
      ok &= run(std::strtoull(line.c_str(), nullptr, 10), shards);
  }
  std::random_device fresh;
  for (std::size_t i = 0; i < runs; ++i)
    ok &= run(std::uint64_t{fresh()} << 32 | fresh(), shards);
  return ok ? 0 : 1;
}
