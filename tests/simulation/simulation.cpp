// Hundreds of clients and their peers against the stateless answers and one or three shards, in
// virtual time, from one seed: requests are lost, doubled, reordered, repeated minutes later, sent
// from a rebound NAT address, forged or made of noise; keys come late or never, flow tables are
// full, shards stall; some come by connections, which stall, close and come back. Every answer is
// held against what the model says is due; after every few steps also the flows that are open, and
// what a worker would do to packets.
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
#include <random>
#include <vector>

#include "cluster.h"
#include "coverage.h"
#include "seeds.h"
#include "some_config.h"
#include "streams.h"
#include "turnpike/counters.h"
#include "turnpike/stateless_answers.h"

namespace turnpike::simulation {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr int kClients = 200;
constexpr int kUsers = 40;                 // of whom each has five: more than he may have
constexpr int kExpiringUser = kUsers - 1;  // its credential ends halfway
constexpr int kSteps = 6000;
constexpr std::size_t kMethodsHere = 4;  // of kMethods; then come those of TCP's allocations
const Endpoint kServer{Address::v4(192, 0, 2, 1), 3478};
const Endpoint kAnycast{Address::v4(192, 0, 2, 9), 3478};  // redirects to kServer
const ServerPolicy::Redirect kRedirect{kAnycast, {kServer}};

const std::vector<User>& users() {
  static const std::vector<User> all = [] {
    std::vector<User> made;
    for (int i = 0; i < kUsers; ++i)
      made.push_back(make_user("user" + std::to_string(i), "secret"));
    return made;
  }();
  return all;
}

class World final : private Surroundings {
 public:
  World(std::uint64_t seed, unsigned shards, Coverage& coverage)
      : random_(seed),
        coverage_(coverage),
        cluster_(some_setup(shards), *this),
        streams_([this](std::uint32_t bound) { return below(bound); }, cluster_, coverage.streams) {
    for (int i = 0; i < kClients; ++i)
      place(i);
  }

  void run() {
    for (int step = 0; step < kSteps; ++step) {
      cluster_.now.ms += below(700);
      if (below(50) == 0) place(static_cast<int>(below(kClients)));  // a NAT forgets
      if (below(200) == 0) cluster_.now.ms += 350'000;               // everybody falls silent
      if (below(2000) == 0) cluster_.now.ms += 4'000'000;            // and even longer
      for (std::size_t shard = 0; shard < cluster_.size(); ++shard) {
        if (below(10) != 0) cluster_.tick(shard);  // else it stalls
      }
      if (below(300) == 0)  // another policy
        of_some_ = below(3) == 0 ? std::nullopt : std::optional(some_limits());
      bring_keys();
      send(next_request(static_cast<int>(below(kClients))));
      if (below(10) == 0) hurried_ = static_cast<int>(below(kClients));
      send(next_request(hurried_));
      streams_.step([this](Sent sent) { wire_.push_back(std::move(sent)); },
                    [this](const Lesson& lesson) { learn(lesson); });
      send_data();
      deliver();
      if (step % 8 == 0) check();
    }
    streams_.end();
    check();
    fetches_.clear();
    cluster_.end();
    count();
  }

 private:
  struct Fetch {
    std::size_t shard = 0;
    std::string username;
    std::optional<std::array<std::uint8_t, 32>> userhash;
    std::uint32_t steps = 0;  // until it comes
  };

  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(random_() % bound); }

  Cluster::Setup some_setup(unsigned shards) {
    Cluster::Setup setup;
    setup.config =
        some_config([this](std::uint32_t bound) { return below(bound); }, shards, kRedirect);
    setup.shards = shards;
    setup.users = users();
    setup.nonce_lifetime_s = 1200;
    setup.remembers_ghosts = setup.config.max_allocations >= 1000;
    setup.quotas = some_quotas();
    setup.ports_are_few = setup.config.port_max - setup.config.port_min < 64 * 30 - 1;
    keys_come_late_ = below(2) == 0;
    sink_refuses_ = below(2) == 0;
    return setup;
  }

  // Of everything there is sometimes no limit, and sometimes one that is met.
  Cluster::Quotas some_quotas() {
    Cluster::Quotas quotas{some_limits()};
    if (below(3) == 0) quotas.node = 50;
    if (below(2) == 0) quotas.source = 3;
    hosts_ = quotas.source != 0 ? 60 : 250;
    return quotas;
  }
  UserLimits some_limits() {
    return {1 + below(4), below(2) == 0 ? 0 : 3 + below(6), below(2) == 0 ? 0 : 2 + below(4)};
  }

  std::uint32_t random_below(std::uint32_t bound) override { return below(bound); }
  bool sink_is_full() override { return sink_refuses_ && below(30) == 0; }
  bool is_gone(const User& user) const override {
    return user.hash == users()[kExpiringUser].hash && cluster_.now.ms > kStartMs + 4'000'000;
  }
  std::optional<UserLimits> limits_of(const User& user) override {
    return user.hash[0] % 2 == 0 ? of_some_ : std::nullopt;
  }
  KeyState find_keys(std::size_t shard, const UserName& name, KeyPurpose purpose,
                     UserKeys& out) override {
    const User* user = find_user(users(), name);
    const bool expires = user == &users()[kExpiringUser];
    if (keys_come_late_ && !expires && below(4) == 0) {
      const std::uint32_t wait = below(6);
      // One in six never comes.
      if (wait != 0) fetches_.push_back({shard, std::string(name.username), name.userhash, wait});
      return KeyState::kPending;
    }
    const bool strict =
        purpose == KeyPurpose::kAllocate ||
        (purpose == KeyPurpose::kRefresh && cluster_.config().realms[0].strict_expiry);
    if (user == nullptr || (strict && is_gone(*user))) return KeyState::kUnknown;
    out = user->keys;
    return KeyState::kFound;
  }
  void told(const Sent& sent, const MessageView& answer) override {
    Lesson lesson{.by = sent.five_tuple};
    if (answer.has(Attribute::kNonce)) lesson.nonce = *answer.text(Attribute::kNonce);
    if (const auto ticket = answer.find(Attribute::kMobilityTicket))
      lesson.ticket.emplace(ticket->value.begin(), ticket->value.end());
    if (const auto token = answer.find(Attribute::kReservationToken))
      std::copy(token->value.begin(), token->value.end(), lesson.token.emplace().begin());
    if (is_stream(sent.five_tuple)) return streams_.answer(std::move(lesson));
    learn(lesson);
  }
  void learn(const Lesson& lesson) {
    if (lesson.nonce) nonce_[lesson.by.client] = *lesson.nonce;
    for (const auto& [client, place] : where_) {
      if (lesson.ticket && place == lesson.by) tickets_[client] = *lesson.ticket;
    }
    if (lesson.token) given_tokens_.push_back(*lesson.token);
    if (given_tokens_.size() > 4) given_tokens_.pop_front();
  }

  static bool is_stream(const FiveTuple& place) { return place.transport != Transport::kUdp; }
  void place(int client) {
    static constexpr std::array<Transport, 4> kMix{Transport::kUdp, Transport::kUdp,
                                                   Transport::kTcp, Transport::kDtls};
    const Address host = Address::v4(198, 51, 100, static_cast<std::uint8_t>(below(hosts_)));
    const auto port = static_cast<std::uint16_t>(1024 + below(60000));
    streams_.leave(where_[client]);
    where_[client] = {ClientEndpoint{{host, port}}, kServer, kMix[below(kMix.size())]};
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

  // Another network, and a challenge there.
  void roam(int client) {
    place(client);
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size = cluster_.nonces().mint(cluster_.now, {.name = kRealm},
                                                    where_[client].client, kServer, nonce);
    nonce_[where_[client].client] = {nonce.data(), size};
  }

  Sent next_request(int client) {
    if (tickets_.contains(client) && below(4) == 0) roam(client);
    const FiveTuple from = where_[client];
    if (below(20) == 0) {
      Sent noise{from, {}};
      for (std::uint32_t i = below(80); i > 0; --i)
        noise.bytes.push_back(static_cast<std::uint8_t>(below(256)));
      return noise;
    }
    const auto said = said_.find(client);
    if (said != said_.end() && below(12) == 0) return said->second;  // again, however late
    Sent sent{from, {}};
    if (!is_stream(from) && below(30) == 0) sent.five_tuple.server = kAnycast;
    sent.bytes = build(client, from);
    if (below(25) == 0)
      sent.bytes[below(static_cast<std::uint32_t>(sent.bytes.size()))] ^=
          static_cast<std::uint8_t>(1U << below(8));
    said_[client] = sent;
    return sent;
  }

  std::vector<std::uint8_t> build(int client, const FiveTuple& from) {
    static constexpr std::array<Method, 7> kMix{
        Method::kAllocate,         Method::kAllocate,    Method::kRefresh,    Method::kRefresh,
        Method::kCreatePermission, Method::kChannelBind, Method::kChannelBind};
    // Most know what they have.
    const bool knows = below(8) != 0;
    const bool has = cluster_.model().knows(from);
    Method method = kMix[below(kMix.size())];
    if (knows && !has) method = Method::kAllocate;
    if (knows && has && method == Method::kAllocate) method = Method::kCreatePermission;
    const bool moves = tickets_.contains(client) && below(has ? 15 : 2) == 0;
    if (moves) method = Method::kRefresh;
    std::array<std::uint8_t, 1024> buffer{};
    stun::TransactionId id{};
    const std::uint64_t number = random_();
    std::memcpy(id.data(), &number, sizeof number);
    MessageWriter writer(buffer, Class::kRequest, method, id);
    if (below(40) == 0) add_nonsense(writer);
    if (method == Method::kAllocate) fill_allocate(writer);
    if (method == Method::kRefresh) fill_refresh(writer);
    if (moves) writer.add(Attribute::kMobilityTicket, some_ticket(client));
    if (method == Method::kAllocate && below(3) == 0)
      writer.add(Attribute::kMobilityTicket, std::vector<std::uint8_t>(below(40) == 0 ? 32 : 0));
    if (method == Method::kChannelBind) {
      writer.add_channel_number(
          static_cast<std::uint16_t>((below(40) == 0 ? 0x4FFD : 0x4000) + below(5)));
      writer.add_xor_address(Attribute::kXorPeerAddress, some_peer());
    }
    if (method == Method::kCreatePermission) {
      for (std::uint32_t i = below(4); i < 3; ++i)
        writer.add_xor_address(Attribute::kXorPeerAddress, some_peer());
    }
    sign(writer, client, from.client);
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

  // Mostly the client's own.
  std::vector<std::uint8_t> some_ticket(int client) {
    const auto any = below(static_cast<std::uint32_t>(tickets_.size()));
    std::vector<std::uint8_t> ticket =
        below(20) == 0 ? std::next(tickets_.begin(), any)->second : tickets_.at(client);
    if (below(40) == 0) ticket[below(32)] ^= 1;
    return ticket;
  }

  // From where they have moved to; some only receive.
  void send_data() {
    for (const FiveTuple& from : cluster_.moving()) {
      if ((!is_stream(from) || streams_.is_open(from)) && below(30) == 0) cluster_.data_come(from);
    }
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
      writer.add_text(Attribute::kUsername, known ? user.keys.username : "mallory");
    }
    writer.add_text(Attribute::kRealm, kRealm);
    writer.add_text(Attribute::kNonce, nonce->second);
    const bool modern = below(2) == 0;
    const bool sha256 = modern && below(2) == 0;
    stun::Key key = sha256 ? user.keys.sha256[0] : user.keys.md5[0];
    if (below(40) == 0) key.bytes[0] ^= 1;
    if (!modern) return writer.add_message_integrity(key.view());
    static constexpr std::array<std::uint8_t, 8> kList{0, 2, 0, 0, 0, 1, 0, 0};
    // Sometimes somebody on the way has weakened the list.
    writer.add(Attribute::kPasswordAlgorithms,
               stun::Bytes(kList).last(below(60) == 0 ? 4 : kList.size()));
    writer.add_u32(Attribute::kPasswordAlgorithm, sha256 ? 0x0002'0000 : 0x0001'0000);
    writer.add_message_integrity_sha256(key.view());
  }

  void send(Sent sent) {
    if (is_stream(sent.five_tuple)) return streams_.send(sent);
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
      const auto& [client, server, transport] = sent.five_tuple;
      const bool known = cluster_.owner_of(sent.five_tuple).has_value();
      std::array<std::uint8_t, 576> answer{};
      const StatelessResult result =
          stateless_.answer(cluster_.now, message, client, {server}, known, answer);
      if (result.verdict == StatelessVerdict::kAnswered)
        cluster_.answered_by_door(sent, stun::Bytes(answer).first(result.size));
      if (result.verdict == StatelessVerdict::kAdmit)
        cluster_.hand(sent, std::hash<std::string>()(client.to_string()) % cluster_.size());
    }
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
      const User* user = find_user(users(), name);
      cluster_.keys_arrived(fetch.shard, name, 0, user != nullptr ? &user->keys : nullptr);
    }
  }

  // With packets that may be anybody's: the flows do with them what the promises say.
  void check() {
    const Promises promises = cluster_.check();
    streams_.check();
    for (int i = 0; i < 30; ++i)
      probe(promises);
  }

  void probe(const Promises& promises) {
    const FiveTuple& client = where_[static_cast<int>(below(kClients))];
    const auto number = static_cast<ChannelNumber>(0x4000 + below(5));
    const Endpoint given = some_peer();
    const Endpoint peer{public_of(cluster_.config(), given.address), given.port};
    promises.check_from_client(client, number, peer.address);
    const std::set<RelayEndpoint>& ports = cluster_.ports();
    if (ports.empty()) return;
    auto relayed = ports.begin();
    std::advance(relayed, below(static_cast<std::uint32_t>(ports.size())));
    promises.check_from_peer(*relayed, peer);
  }

  // What is always refused breaks no promise.
  void count() const {
    std::array<std::uint64_t, kMethodsHere> successes{};
    for (std::size_t shard = 0; shard < cluster_.size(); ++shard) {
      const auto& requests = cluster_.counters(shard).requests;
      for (std::size_t method = 0; method < kMethodsHere; ++method) {
        successes[method] += requests[method][0].get();
        for (std::size_t i = 0; i < coverage_.results.size(); ++i)
          coverage_.results[i] += requests[method][i].get();
      }
      coverage_.moves += cluster_.counters(shard).moves.get();
    }
    require(std::find(successes.begin(), successes.end(), 0) == successes.end(),
            "a method never succeeds");
  }

  std::mt19937_64 random_;
  Coverage& coverage_;
  bool keys_come_late_ = false;
  bool sink_refuses_ = false;
  int hurried_ = 0;                    // a client that speaks at each step, for a while
  std::uint32_t hosts_ = 250;          // that clients are on
  std::optional<UserLimits> of_some_;  // what some users may have, where it isn't what all may
  Cluster cluster_;
  Streams streams_;
  StatelessAnswers stateless_{{.realms = {{.name = kRealm}}}, cluster_.nonces()};
  std::map<int, FiveTuple> where_;
  std::map<int, Sent> said_;
  std::map<ClientEndpoint, std::string> nonce_;
  std::deque<TokenSealer::Token> given_tokens_;
  std::map<int, std::vector<std::uint8_t>> tickets_;  // by client
  std::deque<Sent> wire_;
  std::vector<Fetch> fetches_;
};

bool run(std::uint64_t seed, unsigned shards, Coverage& coverage) {
  try {
    World(seed, shards, coverage).run();
    return true;
  } catch (const Failure& failure) {
    std::fprintf(stderr, "seed %llu with %u shards: %s\n", static_cast<unsigned long long>(seed),
                 shards, failure.what.c_str());
    return false;
  }
}

}  // namespace
}  // namespace turnpike::simulation

int main(int argc, char** argv) {
  using namespace turnpike::simulation;
  Coverage coverage{};
  return run_seeds(
      argc, argv, [&](std::uint64_t seed, unsigned shards) { return run(seed, shards, coverage); },
      [&] { return everything_happened(coverage); });
}
