// Hundreds of clients and their peers against the front door and one or three shards, in virtual
// time, from one seed: requests are lost, doubled, reordered, repeated minutes later, sent from a
// rebound NAT address, forged or made of noise; keys come late or never, flow tables are full,
// shards stall. Every answer is held against what the model says is due; after every few steps also
// the flows that are open, and what a worker would do to packets.
//
//   simulation SHARDS RUNS SEEDS-FILE
//
// Replays the seeds in the file and RUNS new ones (TURNPIKE_SIMULATION_RUNS overrides). Prints the
// seed of a failing run; ends with 1 then, and also if a kind of answer was never seen: a
// simulation in which nothing happens proves nothing.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <memory>
#include <random>
#include <vector>

#include "fake_sink.h"
#include "model.h"
#include "promises.h"
#include "turnpike/counters.h"
#include "turnpike/front_door.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"

namespace turnpike::simulation {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;
using stun::PasswordAlgorithm;

constexpr const char* kRealm = "example.org";
constexpr std::uint32_t kQuota = 3;  // of five clients that each user has
constexpr int kClients = 200;
constexpr int kUsers = 40;
constexpr int kExpiringUser = kUsers - 1;  // its credential ends halfway
constexpr int kSteps = 6000;
constexpr std::uint64_t kStartMs = 1'000'000;
const Endpoint kServer{Address::v4(192, 0, 2, 1), 3478};
const Endpoint kAnycast{Address::v4(192, 0, 2, 9), 3478};  // redirects to kServer
const Address kInternal4 = Address::v4(192, 0, 2, 2);
const Address kExternal4 = Address::v4(198, 51, 100, 2);
const Address kInternal6 = *Address::parse("2001:db8::2");

FiveTuple five_tuple(const ClientEndpoint& client) {
  return {client, kServer, Transport::kUdp};
}

// How often each result has been seen, over all runs.
using Coverage = std::array<std::uint64_t, kResults.size()>;

struct User {
  std::string name;
  stun::Key md5;
  stun::Key sha256;
  std::array<std::uint8_t, 32> hash{};
};

const std::vector<User>& users() {
  static const std::vector<User> all = [] {
    std::vector<User> made;
    for (int i = 0; i < kUsers; ++i) {
      User user;
      user.name = "user" + std::to_string(i);
      user.md5 = stun::long_term_key(PasswordAlgorithm::kMd5, user.name, kRealm, "secret");
      user.sha256 = stun::long_term_key(PasswordAlgorithm::kSha256, user.name, kRealm, "secret");
      user.hash = stun::userhash(user.name, kRealm);
      made.push_back(user);
    }
    return made;
  }();
  return all;
}

const User* find_user(const UserName& name) {
  for (const User& user : users()) {
    if (name.userhash ? user.hash == *name.userhash : user.name == name.username) return &user;
  }
  return nullptr;
}

UserKeys keys_of(const User& user) {
  return {user.name, user.name, {user.md5}, {user.sha256}};
}

class World;

class Shard final : public ServerHost {
 public:
  Shard(World& world, std::set<RelayEndpoint>& ports);
  void reply(RequestToken token, stun::Bytes message) override;
  void discard(RequestToken token, Discard) override;
  KeyState find_keys(const UserName& user, std::string_view, KeyPurpose purpose,
                     UserKeys& out) override;
  void unauthorized(const ClientEndpoint& /*client*/, Unauthorized /*reason*/) override {}
  PeerVerdict check_peer(const Address& /*relayed*/, const Address& peer) override {
    return peer == kForbidden ? PeerVerdict::kForbidden : PeerVerdict::kAllowed;
  }
  std::uint32_t random_below(std::uint32_t bound) override;
  FlowSink& flows() override { return sink; }

  FakeSink sink;
  std::unique_ptr<Server> server;
  std::uint64_t handed = 0;  // requests

 private:
  World& world_;
};

class World {
 public:
  World(std::uint64_t seed, unsigned shards) : random_(seed) {
    for (unsigned i = 0; i < shards; ++i)
      shards_.push_back(std::make_unique<Shard>(*this, ports_));
    ServerConfig config = base_config();
    model_ = std::make_unique<Model>(config, config.max_allocations >= 1000);
    config_ = config;
    keys_come_late_ = below(2) == 0;
    sink_refuses_ = below(2) == 0;
    for (unsigned i = 0; i < shards; ++i) {
      config.shard = static_cast<std::uint8_t>(i);
      config.shard_count = static_cast<std::uint8_t>(shards);
      shards_[i]->server = std::make_unique<Server>(config, *shards_[i], nonces_, tokens_, quotas_);
      free_ports_ += shards_[i]->server->counters().free_ports.get();
    }
    for (int i = 0; i < kClients; ++i)
      place(i);
  }

  void run(Coverage& coverage) {
    for (int step = 0; step < kSteps; ++step) {
      now_.ms += below(700);
      if (below(50) == 0) place(static_cast<int>(below(kClients)));  // a NAT forgets
      if (below(200) == 0) now_.ms += 350'000;                       // everybody falls silent
      if (below(2000) == 0) now_.ms += 4'000'000;                    // and even longer
      for (const auto& shard : shards_) {
        if (below(10) != 0) shard->server->tick(now_);  // else it stalls
      }
      bring_keys();
      queue(next_request(static_cast<int>(below(kClients))));
      deliver();
      if (step % 8 == 0) check();
    }
    end();
    for (const auto& shard : shards_) {
      for (const auto& row : shard->server->counters().requests) {
        for (std::size_t i = 0; i < row.size(); ++i)
          coverage[i] += row[i].get();
      }
    }
    // What is always refused breaks no promise.
    for (std::size_t method = 0; method < kMethods.size(); ++method) {
      require(std::any_of(shards_.begin(), shards_.end(),
                          [&](const auto& shard) {
                            return shard->server->counters().requests[method][0].get() != 0;
                          }),
              "a method never succeeds");
    }
  }

  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(random_() % bound); }
  bool sink_is_full() {
    const bool full = sink_refuses_ && below(30) == 0;
    sink_refused_ |= full;
    return full;
  }

  // By a shard, or, nullptr, by the front door.
  void answered(const Shard* by, RequestToken token, stun::Bytes message) {
    const auto found = open_.find(token);
    require(found != open_.end(), "a request is answered twice");
    const Sent sent = std::move(found->second);
    open_.erase(found);
    MessageView request;
    MessageView answer;
    require(MessageView::parse(sent.bytes, request) == stun::ParseError::kNone &&
                MessageView::parse(message, answer) == stun::ParseError::kNone,
            "an answer is not STUN");
    require(
        request.transaction_id() == answer.transaction_id() && request.method() == answer.method(),
        "an answer to another question");
    require(request.has_fingerprint() == answer.has_fingerprint(),
            "a fingerprint without being asked for, or none");
    if (answer.has(Attribute::kNonce))
      nonce_[sent.from] = std::string(*answer.text(Attribute::kNonce));
    if (request.method() == Method::kBinding) return;
    require(answer.error_code().has_value() == (answer.message_class() == Class::kError),
            "an answer is neither a success nor an error");
    if (answer.message_class() == Class::kSuccess) return succeeded(*by, sent, request, answer);
    refused(by, sent, request, answer);
  }
  void given_up(RequestToken token) {
    require(open_.erase(token) == 1, "a request is given up twice");
  }

  KeyState find_keys(Shard& shard, const UserName& name, KeyPurpose purpose, UserKeys& out) {
    const User* user = find_user(name);
    const bool expires = user == &users()[kExpiringUser];
    if (keys_come_late_ && !expires && below(4) == 0) {
      const std::uint32_t wait = below(6);
      // One in six never comes.
      if (wait != 0) fetches_.push_back({&shard, std::string(name.username), name.userhash, wait});
      return KeyState::kPending;
    }
    const bool strict = purpose == KeyPurpose::kAllocate ||
                        (purpose == KeyPurpose::kRefresh && config_.strict_expiry);
    if (user == nullptr || (expires && expired() && strict)) return KeyState::kUnknown;
    out = keys_of(*user);
    return KeyState::kFound;
  }

 private:
  struct Sent {
    ClientEndpoint from;
    Endpoint to;
    std::vector<std::uint8_t> bytes;
  };
  struct Fetch {
    Shard* shard = nullptr;
    std::string username;
    std::optional<std::array<std::uint8_t, 32>> userhash;
    std::uint32_t steps = 0;  // until it comes
  };

  ServerConfig base_config() {
    ServerConfig config;
    config.realm = kRealm;
    config.relayed = {{kInternal4, kExternal4}};
    if (below(3) != 0) config.relayed.push_back({kInternal6, std::nullopt});
    config.port_min = 50048;
    config.port_max = static_cast<std::uint16_t>(50047 + 64 * (below(2) == 0 ? 3 : 30));
    config.max_allocations = below(2) == 0 ? 25 : 1000;
    config.max_permissions_per_allocation = 4;
    config.max_channels_per_allocation = 4;
    config.max_parked = 8;
    config.strict_expiry = below(2) == 0;
    config.redirects = {{kAnycast, {kServer}}};
    return config;
  }

  bool expired() const { return now_.ms > kStartMs + 4'000'000; }

  void place(int client) {
    where_[client] =
        ClientEndpoint{{Address::v4(198, 51, 100, static_cast<std::uint8_t>(below(250))),
                        static_cast<std::uint16_t>(1024 + below(60000))}};
  }

  Endpoint some_peer() {
    const auto port = static_cast<std::uint16_t>(1000 + below(4));
    switch (below(30)) {
      case 0:
        return {kForbidden, port};
      case 1:
        return {kInternal4, port};
      case 2:
        return {kExternal4, port};
      case 3:
      case 4:
      case 5:
        return {*Address::parse("2001:db8:1::5"), port};
      case 6:
        return {Address::v4(203, 0, 113, 1), 0};
      default:
        return {Address::v4(203, 0, 113, static_cast<std::uint8_t>(below(6))), port};
    }
  }

  // --- what clients say

  Sent next_request(int client) {
    const ClientEndpoint from = where_[client];
    if (below(20) == 0) {
      Sent noise{from, kServer, {}};
      for (std::uint32_t i = below(80); i > 0; --i)
        noise.bytes.push_back(static_cast<std::uint8_t>(below(256)));
      return noise;
    }
    const auto said = said_.find(client);
    if (said != said_.end() && below(12) == 0) return said->second;  // again, however late
    Sent sent{from, below(60) == 0 ? kAnycast : kServer, build(client, from)};
    if (below(25) == 0)
      sent.bytes[below(static_cast<std::uint32_t>(sent.bytes.size()))] ^=
          static_cast<std::uint8_t>(1U << below(8));
    said_[client] = sent;
    return sent;
  }

  std::vector<std::uint8_t> build(int client, const ClientEndpoint& from) {
    static constexpr std::array<Method, 7> kMix{
        Method::kAllocate,         Method::kAllocate,    Method::kRefresh,    Method::kRefresh,
        Method::kCreatePermission, Method::kChannelBind, Method::kChannelBind};
    // Most know what they have.
    const bool knows = below(8) != 0;
    const bool has = model_->allocations().contains(five_tuple(from));
    Method method = kMix[below(kMix.size())];
    if (knows && !has) method = Method::kAllocate;
    if (knows && has && method == Method::kAllocate) method = Method::kCreatePermission;
    std::array<std::uint8_t, 1024> buffer{};
    stun::TransactionId id{};
    const std::uint64_t number = random_();
    std::memcpy(id.data(), &number, sizeof number);
    MessageWriter writer(buffer, Class::kRequest, method, id);
    if (below(40) == 0) add_nonsense(writer);
    if (method == Method::kAllocate) fill_allocate(writer);
    if (method == Method::kRefresh) fill_refresh(writer);
    if (method == Method::kChannelBind) {
      writer.add_channel_number(
          static_cast<std::uint16_t>((below(40) == 0 ? 0x4FFD : 0x4000) + below(5)));
      writer.add_xor_address(Attribute::kXorPeerAddress, some_peer());
    }
    if (method == Method::kCreatePermission) {
      for (std::uint32_t i = below(4); i < 3; ++i)
        writer.add_xor_address(Attribute::kXorPeerAddress, some_peer());
    }
    sign(writer, client, from);
    if (below(3) == 0) writer.add_fingerprint();
    const auto bytes = writer.finish();
    return {bytes.begin(), bytes.end()};
  }

  // Any attribute, of any size, in front of the right ones: signed, so that it is believed.
  void add_nonsense(MessageWriter& writer) {
    static constexpr std::array<Attribute, 11> kAny{Attribute::kLifetime,
                                                    Attribute::kEvenPort,
                                                    Attribute::kRequestedTransport,
                                                    Attribute::kRequestedAddressFamily,
                                                    Attribute::kAdditionalAddressFamily,
                                                    Attribute::kReservationToken,
                                                    Attribute::kXorPeerAddress,
                                                    Attribute::kChannelNumber,
                                                    Attribute::kDontFragment,
                                                    Attribute::kErrorCode,
                                                    static_cast<Attribute>(0x7001)};
    std::vector<std::uint8_t> value(below(24));
    for (std::uint8_t& byte : value)
      byte = static_cast<std::uint8_t>(below(256));
    writer.add(kAny[below(kAny.size())], value);
  }

  void fill_allocate(MessageWriter& writer) {
    if (below(60) != 0)
      writer.add_u8_rfffu(Attribute::kRequestedTransport, below(40) == 0 ? 6 : 17);
    if (below(3) == 0) writer.add_u32(Attribute::kLifetime, below(5000));
    switch (below(8)) {
      case 0:
        return writer.add_u8_rfffu(Attribute::kRequestedAddressFamily,
                                   static_cast<std::uint8_t>(below(30) == 0 ? 3 : 1 + below(2)));
      case 1:
        return writer.add_u8_rfffu(Attribute::kAdditionalAddressFamily, below(30) == 0 ? 1 : 2);
      case 2:
      case 3:
        return writer.add(
            Attribute::kEvenPort,
            std::array<std::uint8_t, 1>{static_cast<std::uint8_t>(below(3) == 0 ? 0 : 0x80)});
      case 4:
        return writer.add(Attribute::kReservationToken, some_token());
      default:
        return;
    }
  }

  // Mostly one that was given out not long ago; used up or not.
  TokenSealer::Token some_token() {
    TokenSealer::Token token{};
    if (!given_tokens_.empty() && below(10) != 0)
      return given_tokens_[below(static_cast<std::uint32_t>(given_tokens_.size()))];
    for (std::uint8_t& byte : token)
      byte = static_cast<std::uint8_t>(below(256));
    return token;
  }

  void fill_refresh(MessageWriter& writer) {
    if (below(4) != 0) writer.add_u32(Attribute::kLifetime, below(8) == 0 ? 0 : below(5000));
    if (below(4) == 0)
      writer.add_u8_rfffu(Attribute::kRequestedAddressFamily,
                          static_cast<std::uint8_t>(1 + below(2)));
  }

  void sign(MessageWriter& writer, int client, const ClientEndpoint& from) {
    const auto nonce = nonce_.find(from);
    if (nonce == nonce_.end()) return;
    // Sometimes as somebody else, sometimes with a wrong key, sometimes as nobody.
    const User& user =
        users()[static_cast<std::size_t>(below(40) == 0 ? client + 1 : client) % kUsers];
    const bool known = below(60) != 0;
    if (below(3) == 0 && known) {
      writer.add(Attribute::kUserhash, user.hash);
    } else {
      writer.add_text(Attribute::kUsername, known ? user.name : "mallory");
    }
    writer.add_text(Attribute::kRealm, kRealm);
    writer.add_text(Attribute::kNonce, nonce->second);
    const bool modern = below(2) == 0;
    const bool sha256 = modern && below(2) == 0;
    stun::Key key = sha256 ? user.sha256 : user.md5;
    if (below(40) == 0) key.bytes[0] ^= 1;
    if (!modern) return writer.add_message_integrity(key.view());
    static constexpr std::array<std::uint8_t, 8> kList{0, 2, 0, 0, 0, 1, 0, 0};
    // Sometimes somebody on the way has weakened the list.
    writer.add(Attribute::kPasswordAlgorithms,
               stun::Bytes(kList).last(below(60) == 0 ? 4 : kList.size()));
    writer.add_u32(Attribute::kPasswordAlgorithm, sha256 ? 0x0002'0000 : 0x0001'0000);
    writer.add_message_integrity_sha256(key.view());
  }

  // --- the network

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
      const auto owner = sent.to == kServer ? owner_of(sent.from) : std::nullopt;
      std::array<std::uint8_t, 576> answer{};
      const DoorResult result =
          door_.answer(now_, message, sent.from, sent.to, owner.has_value(), answer);
      const RequestToken token{++tokens_made_};
      if (result.door == Door::kAnswered) {
        open_[token] = sent;
        answered(nullptr, token, stun::Bytes(answer).first(result.size));
      }
      if (result.door == Door::kAdmit) admit(token, sent, message, owner);
    }
  }

  // To the shard that has the five-tuple, or sealed the token, or is as good as any.
  void admit(RequestToken token, const Sent& sent, const MessageView& message,
             const std::optional<std::size_t>& owner) {
    std::size_t shard =
        owner.value_or(std::hash<std::string>()(sent.from.to_string()) % shards_.size());
    if (const auto found = message.find(Attribute::kReservationToken); !owner && found) {
      if (const auto content = tokens_.open(found->value)) shard = content->shard;
    }
    open_[token] = sent;
    ++shards_[shard]->handed;
    sink_refused_ = false;
    shards_[shard]->server->handle(now_, {sent.from, sent.to, Transport::kUdp}, sent.bytes, token);
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

  void bring_keys() {
    for (std::size_t i = 0; i < fetches_.size();) {
      if (--fetches_[i].steps != 0) {
        ++i;
        continue;
      }
      const Fetch fetch = std::move(fetches_[i]);
      fetches_.erase(fetches_.begin() + static_cast<std::ptrdiff_t>(i));
      const UserName name{fetch.username, fetch.userhash};
      const User* user = find_user(name);
      const UserKeys keys = user != nullptr ? keys_of(*user) : UserKeys{};
      sink_refused_ = false;
      fetch.shard->server->keys_arrived(now_, name, kRealm, user != nullptr ? &keys : nullptr);
    }
  }

  // --- what is checked

  void succeeded(const Shard& by, const Sent& sent, const MessageView& request,
                 const MessageView& answer) {
    const User* user = named_in(request);
    require(user != nullptr, "nobody succeeds");
    require(sent.to == kServer, "a redirected client succeeds");
    require(signed_alike(request, answer, *user), "a success is not signed as its request was");
    judge(by, sent, *user, request, 0);
    const bool made = request.method() == Method::kAllocate && !had_allocation(sent.from);
    require(!made || user != &users()[kExpiringUser] || !expired(),
            "a user whose credential has ended makes an allocation");
    if (const auto token = answer.find(Attribute::kReservationToken)) remember(token->value);
    model_->success(now_, five_tuple(sent.from), user->name, request, answer);
  }

  void refused(const Shard* by, const Sent& sent, const MessageView& request,
               const MessageView& answer) {
    const std::uint16_t code = *answer.error_code();
    const User* user = named_in(request);
    if (!answer.has(Attribute::kMessageIntegrity) &&
        !answer.has(Attribute::kMessageIntegritySha256)) {
      require(code == 400 || code == 401 || code == 438,
              "a refusal of a known client's is unsigned");
      require(code != 401 || user == nullptr || user == &users()[kExpiringUser] ||
                  !proven(request, *user),
              "a user who has proved to be one is refused as a stranger");
      return;
    }
    require(by != nullptr && user != nullptr, "nobody gets a signed refusal");
    require(signed_alike(request, answer, *user), "a refusal is not signed as its request was");
    judge(*by, sent, *user, request, code);
  }

  static const User* named_in(const MessageView& request) {
    UserName name;
    name.username = request.text(Attribute::kUsername).value_or("");
    const auto hash = request.find(Attribute::kUserhash);
    if (hash && hash->value.size() == 32) {
      name.userhash.emplace();
      std::copy(hash->value.begin(), hash->value.end(), name.userhash->begin());
    }
    return find_user(name);
  }

  static stun::Bytes key_for(const MessageView& request, const User& user) {
    const bool sha256 = request.u32(Attribute::kPasswordAlgorithm) == 0x0002'0000U;
    return sha256 ? user.sha256.view() : user.md5.view();
  }

  static bool proven(const MessageView& request, const User& user) {
    const stun::Bytes key = key_for(request, user);
    return request.has(Attribute::kMessageIntegritySha256)
               ? stun::check_message_integrity_sha256(request, key)
               : stun::check_message_integrity(request, key);
  }

  static bool signed_alike(const MessageView& request, const MessageView& answer,
                           const User& user) {
    const stun::Bytes key = key_for(request, user);
    return request.has(Attribute::kPasswordAlgorithm)
               ? stun::check_message_integrity_sha256(answer, key) &&
                     !answer.has(Attribute::kMessageIntegrity)
               : stun::check_message_integrity(answer, key) &&
                     !answer.has(Attribute::kMessageIntegritySha256);
  }

  void judge(const Shard& by, const Sent& sent, const User& user, const MessageView& request,
             std::uint16_t result) {
    // While a request waited for keys, the five-tuple may have come to another shard's.
    const auto owner = sent.to == kServer ? owner_of(sent.from) : std::nullopt;
    if (owner && shards_[*owner].get() != &by) return;
    Model::Circumstances circumstances;
    circumstances.tables_may_be_full = sink_refused_;
    circumstances.ports_may_be_short = by.sink.allocations.size() >= config_.max_allocations ||
                                       config_.port_max - config_.port_min < 64 * 30 - 1;
    circumstances.one_shard = shards_.size() == 1;
    circumstances.held = quotas_.count(user.name);
    circumstances.quota = kQuota;
    model_->judge(now_, {sent.from, sent.to, Transport::kUdp}, user.name, request, result,
                  circumstances);
  }

  bool had_allocation(const ClientEndpoint& client) {
    model_->forget(now_);
    return model_->allocations().contains(five_tuple(client));
  }

  void remember(stun::Bytes value) {
    TokenSealer::Token token{};
    std::copy(value.begin(), value.end(), token.begin());
    given_tokens_.push_back(token);
    if (given_tokens_.size() > 4) given_tokens_.pop_front();
  }

  void check() {
    model_->forget(now_);
    std::vector<const FakeSink*> sinks;
    for (const auto& shard : shards_) {
      check_counters(config_, shard->server->counters(), shard->sink);
      sinks.push_back(&shard->sink);
    }
    Promises promises(config_, *model_, sinks, now_);
    promises.check_flows();
    check_quotas();
    for (int i = 0; i < 30; ++i)
      probe(promises);
  }

  void check_quotas() {
    std::map<std::string, std::uint32_t> counts;
    for (const auto& [five_tuple, promised] : model_->allocations())
      ++counts[promised.user];
    for (const auto& [user, count] : counts) {
      require(count <= kQuota, "a quota is exceeded");
      // What has expired counts until its shard looks.
      require(quotas_.count(user) >= count, "the ledger has lost an allocation");
      require(quotas_.count(user) <= kQuota, "the ledger is beyond its limit");
    }
  }

  // A packet that may be anybody's: the flows do with it what the promises say.
  void probe(const Promises& promises) {
    const ClientEndpoint client = where_[static_cast<int>(below(kClients))];
    const auto number = static_cast<ChannelNumber>(0x4000 + below(5));
    const Endpoint given = some_peer();
    const Endpoint peer{face_of(config_, given.address), given.port};
    promises.check_from_client(five_tuple(client), number, peer.address);
    if (ports_.empty()) return;
    auto relayed = ports_.begin();
    std::advance(relayed, below(static_cast<std::uint32_t>(ports_.size())));
    promises.check_from_peer(*relayed, peer);
  }

  // Everything ends, and nothing is left.
  void end() {
    check();
    fetches_.clear();
    now_.ms += 5'000'000;
    for (const auto& shard : shards_)
      shard->server->tick(now_);
    check();
    now_.ms += 60'000;
    std::uint64_t free_ports = 0;
    for (const auto& shard : shards_) {
      shard->server->tick(now_);
      const ServerCounters& counters = shard->server->counters();
      free_ports += counters.free_ports.get();
      require(shard->sink.allocations.empty() && shard->sink.permissions.empty() &&
                  shard->sink.channels.empty() && counters.reservations.get() == 0,
              "something outlives its time");
      std::uint64_t ended = 0;
      for (const auto& row : counters.requests) {
        for (const Counter& count : row)
          ended += count.get();
      }
      for (const Counter& count : counters.discards)
        ended += count.get();
      require(ended == shard->handed, "the counters don't add up to what was asked");
    }
    require(open_.empty(), "a request has no answer");
    require(free_ports == free_ports_ && ports_.empty(), "a relay port is lost");
    for (const User& user : users())
      require(quotas_.count(user.name) == 0, "the ledger keeps what is gone");
  }

  std::mt19937_64 random_;
  Instant now_{kStartMs};
  ServerConfig config_;
  bool keys_come_late_ = false;
  bool sink_refuses_ = false;
  bool sink_refused_ = false;  // while the requests in hand were
  NonceKeeper nonces_{{.realm = kRealm, .lifetime_s = 1200, .key = {7}}};
  TokenSealer tokens_{{8}};
  QuotaLedger quotas_{kQuota, 0, true};
  FrontDoor door_{{.realm = kRealm}, nonces_};
  std::set<RelayEndpoint> ports_;
  std::uint64_t free_ports_ = 0;
  std::unique_ptr<Model> model_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::map<int, ClientEndpoint> where_;
  std::map<int, Sent> said_;
  std::map<ClientEndpoint, std::string> nonce_;
  std::deque<TokenSealer::Token> given_tokens_;
  std::deque<Sent> wire_;
  std::vector<Fetch> fetches_;
  std::map<RequestToken, Sent> open_;
  std::uint64_t tokens_made_ = 0;
};

Shard::Shard(World& world, std::set<RelayEndpoint>& ports)
    : sink(ports, [&world] { return world.sink_is_full(); }), world_(world) {}
void Shard::reply(RequestToken token, stun::Bytes message) {
  world_.answered(this, token, message);
}
void Shard::discard(RequestToken token, Discard /*reason*/) {
  world_.given_up(token);
}
KeyState Shard::find_keys(const UserName& user, std::string_view /*realm*/, KeyPurpose purpose,
                          UserKeys& out) {
  return world_.find_keys(*this, user, purpose, out);
}
std::uint32_t Shard::random_below(std::uint32_t bound) {
  return world_.below(bound);
}

bool run(std::uint64_t seed, unsigned shards, Coverage& coverage) {
  try {
    World(seed, shards).run(coverage);
    return true;
  } catch (const Failure& failure) {
    std::fprintf(stderr, "seed %llu with %u shards: %s\n", static_cast<unsigned long long>(seed),
                 shards, failure.what.c_str());
    return false;
  }
}

// 500 is not sent by anything yet.
bool everything_happened(const Coverage& coverage) {
  bool ok = true;
  for (std::size_t i = 0; i < kResults.size(); ++i) {
    if (coverage[i] != 0 || kResults[i] == 500) continue;
    std::fprintf(stderr, "no request ended with %u\n", unsigned{kResults[i]});
    ok = false;
  }
  return ok;
}

}  // namespace
}  // namespace turnpike::simulation

int main(int argc, char** argv) {
  using namespace turnpike::simulation;
  if (argc != 4) {
    std::fprintf(stderr, "usage: simulation SHARDS RUNS SEEDS-FILE\n");
    return 2;
  }
  const auto shards = static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10));
  const char* more = std::getenv("TURNPIKE_SIMULATION_RUNS");
  const auto runs = std::strtoul(more != nullptr ? more : argv[2], nullptr, 10);
  Coverage coverage{};
  bool ok = true;
  std::ifstream seeds(argv[3]);
  for (std::string line; std::getline(seeds, line);) {
    if (!line.empty() && line[0] != '#')
      ok &= run(std::strtoull(line.c_str(), nullptr, 10), shards, coverage);
  }
  std::random_device fresh;
  for (std::size_t i = 0; i < runs; ++i)
    ok &= run(std::uint64_t{fresh()} << 32 | fresh(), shards, coverage);
  return everything_happened(coverage) && ok ? 0 : 1;
}
