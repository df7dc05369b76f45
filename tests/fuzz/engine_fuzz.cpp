// Bytes as a program against the engine: eight of them are a step, in which one of a few clients
// says something, right or wrong, whole or damaged, or time passes, keys come, a user is struck
// off, a flow table is full. After every step what is open is held against what the server has
// promised (tests/simulation), the ledger against what is open, and every answer against its
// question and what is due; at the end all time runs out, and nothing may be left.
//
// Unlike the simulation's, its sequences grow from those that reached something new, and nothing
// stands before the server: what the stateless answers would have turned away comes in.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "cluster.h"
#include "engine_step.h"
#include "turnpike/counters.h"

namespace {

using namespace turnpike;              // NOLINT
using namespace turnpike::fuzz;        // NOLINT
using namespace turnpike::simulation;  // NOLINT
using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr std::size_t kMaxSteps = 200;
// The last one redirects.
const std::array<Endpoint, 3> kServers{Endpoint{Address::v4(192, 0, 2, 1), 3478},
                                       Endpoint{Address::v4(192, 0, 2, 1), 3479},
                                       Endpoint{Address::v4(192, 0, 2, 9), 3478}};
// The last one is behind a tunnel.
const std::array<Endpoint, 4> kClients{
    Endpoint{Address::v4(203, 0, 113, 1), 40000}, Endpoint{Address::v4(203, 0, 113, 1), 40001},
    Endpoint{*Address::parse("2001:db8:1::1"), 40000}, Endpoint{kTunnelled, 40000}};
const std::array<Endpoint, 8> kPeers{Endpoint{Address::v4(203, 0, 113, 9), 1000},
                                     Endpoint{Address::v4(203, 0, 113, 9), 1001},
                                     Endpoint{Address::v4(203, 0, 113, 8), 1000},
                                     Endpoint{kInternal4, 50050},
                                     Endpoint{kExternal4, 50050},
                                     Endpoint{kForbidden, 1000},
                                     Endpoint{*Address::parse("2001:db8:2::9"), 1000},
                                     Endpoint{Address::v4(203, 0, 113, 9), 0}};
constexpr std::array<ChannelNumber, 8> kNumbers{0x4000, 0x4001, 0x4002, 0x4003,
                                                0x3FFF, 0x4FFF, 0x5000, 0xFFFF};

const std::vector<User>& users() {
  static const std::vector<User> both{make_user("ann", "ann's"), make_user("bob", "bob's")};
  return both;
}

Cluster::Setup setup_of(const Shape& shape) {
  Cluster::Setup setup;
  ServerConfig& config = setup.config;
  config.realms = {{.name = kRealm, .strict_expiry = shape.strict}};
  config.relayed = {{kInternal4, kExternal4}};
  if (shape.dual) config.relayed.push_back({kInternal6, std::nullopt});
  // Few ports: two blocks' ends, so that of three shards one has none.
  config.port_min = 50108;
  config.port_max = shape.few_ports ? 50115 : 50111 + 64 * 3;
  config.max_allocations = shape.few_allocations ? 2 : 100;
  config.max_permissions_per_allocation = 3;
  config.max_channels_per_allocation = 3;
  config.max_parked = 3;
  if (shape.software) config.software = "Turnpike";
  config.redirects = {{kServers[2], {kServers[0]}}};
  setup.shards = shape.three_shards ? 3 : 1;
  setup.users = users();
  setup.nonce_lifetime_s = 600;
  setup.remembers_ghosts = !shape.few_allocations;
  setup.ports_are_few = shape.few_ports;
  return setup;
}

class World final : private Surroundings {
 public:
  World(const Shape& shape, std::uint8_t seed)
      : seed_(seed), random_(seed), cluster_(setup_of(shape), *this) {
    given_tokens_.resize(1);
  }

  void run(std::span<const std::uint8_t> program) {
    for (std::size_t i = 0; i < kMaxSteps && program.size() >= kStepSize; ++i) {
      const Step step(program.first<kStepSize>());
      program = program.subspan(kStepSize);
      take(step, program);
      check();
    }
    cluster_.end();
  }

 private:
  struct Said {
    Sent sent;
    std::size_t covered = 0;  // how many bytes an integrity attribute vouches for
  };

  KeyState find_keys(std::size_t /*shard*/, const UserName& name, KeyPurpose /*purpose*/,
                     UserKeys& out) override {
    const User* user = find_user(users(), name);
    if (keys_come_late_) {
      pending_ = true;
      return KeyState::kPending;
    }
    if (user == nullptr || is_gone(*user)) return KeyState::kUnknown;
    out = user->keys;
    return KeyState::kFound;
  }
  bool is_gone(const User& user) const override {
    return struck_off_[user.hash == users()[0].hash ? 0 : 1];
  }

  // The extremes, too: what is drawn at random is then the same again and again.
  std::uint32_t random_below(std::uint32_t bound) override {
    if (seed_ == 0) return 0;
    if (seed_ == 255) return bound - 1;
    random_ = random_ * 6364136223846793005 + 1442695040888963407;
    return static_cast<std::uint32_t>((random_ >> 32) * bound >> 32);
  }

  // No more is published than there is room for.
  bool sink_is_full() override {
    if (!sink_full_) return false;
    if (room_ == 0) return true;
    --room_;
    return false;
  }

  void told(const Sent& /*sent*/, const MessageView& answer) override {
    const auto token = answer.find(Attribute::kReservationToken);
    if (!token) return;
    TokenSealer::Token copy{};
    require(token->value.size() == copy.size(), "a token of another size");
    std::copy(token->value.begin(), token->value.end(), copy.begin());
    given_tokens_.push_back(copy);
  }

  void take(const Step& step, std::span<const std::uint8_t>& rest) {
    switch (step.what) {
      case What::kAllocate:
        return say(step, Method::kAllocate);
      case What::kRefresh:
        return say(step, Method::kRefresh);
      case What::kPermit:
        return say(step, Method::kCreatePermission);
      case What::kBind:
        return say(step, Method::kChannelBind);
      case What::kAgain:
        return say_again(step);
      case What::kNoise: {
        const auto noise = rest.first(std::min(step.noise_size, rest.size()));
        rest = rest.subspan(noise.size());
        return hand({five_tuple(step.client), {noise.begin(), noise.end()}});
      }
      case What::kShortWhile:
        cluster_.now.ms += step.ten_ms * 10;
        return;
      case What::kLongWhile:
        cluster_.now.ms += step.twenty_s * 20'000;
        return tick(step.stalled);
      case What::kKeys:
        return bring_keys(step.keys);
      case What::kSwitch:
        keys_come_late_ = step.turned.late;
        sink_full_ = step.turned.full;
        room_ = step.turned.room;
        struck_off_ = {step.turned.no_ann, step.turned.no_bob};
        return;
      case What::kTick:
        return tick(step.stalled);
    }
  }

  void tick(unsigned stalled) {
    for (std::size_t shard = 0; shard < cluster_.size(); ++shard) {
      if ((stalled >> shard & 1) == 0) cluster_.tick(shard);
    }
  }

  // Asked for or not, and by whichever name.
  void bring_keys(const Step::Keys& keys) {
    const User& user = users()[keys.which];
    UserName name{user.keys.username, std::nullopt};
    if (keys.by_hash) name = {"", user.hash};
    if (keys.of_nobody) name = {"mallory", std::nullopt};
    const bool known = !is_gone(user) && !keys.of_nobody;
    for (std::size_t shard = 0; shard < cluster_.size(); ++shard)
      cluster_.keys_arrived(shard, name, keys.foreign_realm ? 1 : 0, known ? &user.keys : nullptr);
  }

  static FiveTuple five_tuple(const Step::Client& client) {
    static constexpr std::array<std::size_t, 4> kServerOf{0, 0, 1, 2};
    return {ClientEndpoint{kClients[client.number]}, kServers[kServerOf[client.listener]],
            Transport::kUdp};
  }

  void say(const Step& step, Method method) {
    Said said;
    said.sent.five_tuple = five_tuple(step.client);
    stun::TransactionId id{};
    if (!step.client.same_id) ++transactions_;
    id[0] = static_cast<std::uint8_t>(transactions_);
    id[1] = static_cast<std::uint8_t>(transactions_ >> 8);
    std::array<std::uint8_t, 1024> buffer{};
    MessageWriter writer(buffer, Class::kRequest, method, id);
    if (step.nonsense.is_there) add_nonsense(writer, step.nonsense);
    if (method == Method::kAllocate) fill_allocate(writer, step);
    if (method == Method::kRefresh) fill_refresh(writer, step);
    if (method == Method::kCreatePermission) fill_permission(writer, step.peers);
    if (method == Method::kChannelBind) fill_channel(writer, step.bind);
    sign(writer, step, said);
    if (step.client.fingerprint) writer.add_fingerprint();
    const auto bytes = writer.finish();
    said.sent.bytes.assign(bytes.begin(), bytes.end());
    said_[step.client.number] = said;
    hand(said.sent);
  }

  static void add_nonsense(MessageWriter& writer, const Step::Nonsense& nonsense) {
    static constexpr std::array<Attribute, 16> kAny{Attribute::kLifetime,
                                                    Attribute::kEvenPort,
                                                    Attribute::kRequestedTransport,
                                                    Attribute::kRequestedAddressFamily,
                                                    Attribute::kAdditionalAddressFamily,
                                                    Attribute::kReservationToken,
                                                    Attribute::kXorPeerAddress,
                                                    Attribute::kChannelNumber,
                                                    Attribute::kDontFragment,
                                                    Attribute::kErrorCode,
                                                    Attribute::kUsername,
                                                    Attribute::kUserhash,
                                                    Attribute::kNonce,
                                                    Attribute::kPasswordAlgorithm,
                                                    static_cast<Attribute>(0x7001),
                                                    static_cast<Attribute>(0xF001)};
    writer.add(kAny[nonsense.attribute], stun::Bytes(nonsense.value).first(nonsense.size));
  }

  void fill_allocate(MessageWriter& writer, const Step& step) {
    const Step::Allocate& what = step.allocate;
    if (!what.no_transport) writer.add_u8_rfffu(Attribute::kRequestedTransport, what.tcp ? 6 : 17);
    if (what.has_lifetime) writer.add_u32(Attribute::kLifetime, step.lifetime_s);
    if (what.has_family) writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, step.family);
    if (what.both_families)
      writer.add_u8_rfffu(Attribute::kAdditionalAddressFamily, what.additional_family);
    if (what.even_port)
      writer.add(Attribute::kEvenPort,
                 std::array<std::uint8_t, 1>{static_cast<std::uint8_t>(what.even_only ? 0 : 0x80)});
    if (what.has_token)
      writer.add(Attribute::kReservationToken, given_tokens_[what.token % given_tokens_.size()]);
    if (what.dont_fragment) writer.add(Attribute::kDontFragment, {});
  }

  static void fill_refresh(MessageWriter& writer, const Step& step) {
    if (!step.refresh.no_lifetime) writer.add_u32(Attribute::kLifetime, step.lifetime_s);
    if (step.refresh.has_family)
      writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, step.family);
  }

  static void fill_permission(MessageWriter& writer, const Step::Peers& peers) {
    for (const std::uint8_t number : std::span(peers.numbers).first(peers.count))
      writer.add_xor_address(Attribute::kXorPeerAddress, kPeers[number % kPeers.size()]);
  }

  static void fill_channel(MessageWriter& writer, const Step::Bind& bind) {
    if (!bind.no_number) writer.add_channel_number(kNumbers[bind.number]);
    if (!bind.no_peer) writer.add_xor_address(Attribute::kXorPeerAddress, kPeers[bind.peer]);
  }

  void sign(MessageWriter& writer, const Step& step, Said& said) {
    const Step::How& how = step.how;
    bool& forged = said.sent.forged;
    forged = how.wrong_key || how.is_unsigned || how.foreign_realm;
    if (how.is_unsigned) return;
    const std::size_t own = step.client.number & 1;
    const User& user = users()[step.client.as == As::kOtherUser ? 1 - own : own];
    if (step.client.as == As::kUnknownUser) {
      writer.add_text(Attribute::kUsername, "mallory");
      forged = true;
    } else if (step.client.as == As::kUserhash) {
      writer.add(Attribute::kUserhash, user.hash);
    } else {
      writer.add_text(Attribute::kUsername, user.keys.username);
    }
    writer.add_text(Attribute::kRealm, how.foreign_realm ? "example.com" : kRealm);
    add_nonce(writer, how.nonce, said.sent);
    static constexpr std::array<std::uint8_t, 8> kList{0, 2, 0, 0, 0, 1, 0, 0};
    const bool sha256 = how.scheme == Scheme::kSha256;
    const bool modern = how.scheme != Scheme::kRfc5389;
    if (modern) {
      // Somebody on the way has weakened the list.
      const bool weakened = how.scheme == Scheme::kWeakened;
      writer.add(Attribute::kPasswordAlgorithms, stun::Bytes(kList).last(weakened ? 4 : 8));
      writer.add_u32(Attribute::kPasswordAlgorithm, sha256 ? 0x0002'0000 : 0x0001'0000);
      forged |= weakened;
    }
    stun::Key key = sha256 ? user.keys.sha256[0] : user.keys.md5[0];
    if (how.wrong_key) key.bytes[0] ^= 1;
    MessageWriter copy = writer;
    said.covered = copy.finish().size();
    if (!modern || how.both_integrities) writer.add_message_integrity(key.view());
    if (modern) writer.add_message_integrity_sha256(key.view());
  }

  void add_nonce(MessageWriter& writer, Nonce which, Sent& sent) {
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    ClientEndpoint client = sent.five_tuple.client;
    if (which == Nonce::kForeign) client.port ^= 1;
    const Instant minted = which == Nonce::kOld ? Instant{kStartMs} : cluster_.now;
    const std::size_t size =
        cluster_.nonces().mint(minted, {.name = kRealm}, client, sent.five_tuple.server, nonce);
    if (which == Nonce::kBad) nonce[size - 1] ^= 1;
    sent.forged |= which == Nonce::kForeign || which == Nonce::kBad;
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
  }

  // What a client said last, as it was, cut short, with one bit the other way, or from elsewhere.
  void say_again(const Step& step) {
    auto [sent, covered] = said_[step.client.number];
    if (sent.bytes.empty()) return;
    const std::size_t at = step.again.at % sent.bytes.size();
    switch (step.again.damage) {
      case Damage::kNone:
        break;
      case Damage::kBit:
        sent.bytes[at] ^= static_cast<std::uint8_t>(1U << step.again.bit);
        sent.forged |= at < covered;
        break;
      case Damage::kCut:
        sent.forged |= at <= covered;
        sent.bytes.resize(at & ~std::size_t{3});
        // With the length put right, it is a message still.
        if (sent.bytes.size() >= stun::kHeaderSize) {
          const std::size_t length = sent.bytes.size() - stun::kHeaderSize;
          sent.bytes[2] = static_cast<std::uint8_t>(length >> 8);
          sent.bytes[3] = static_cast<std::uint8_t>(length);
        }
        break;
      case Damage::kOverheard:
        sent.forged |= sent.five_tuple != five_tuple(step.client);
        sent.five_tuple = five_tuple(step.client);
        break;
    }
    hand(sent);
  }

  void hand(const Sent& sent) {
    const auto& [client, server, transport] = sent.five_tuple;
    pending_ = false;
    const bool done = cluster_.hand(
        sent, (client.port + server.port + client.address.bytes[0]) % cluster_.size());
    require(done || pending_, "a request is neither answered nor given up");
  }

  void check() {
    const Promises promises = cluster_.check();
    const ServerConfig& config = cluster_.config();
    for (const auto& [five_tuple, promised] : cluster_.model().allocations()) {
      for (const Endpoint& peer : kPeers)
        promises.check_from_client(five_tuple, kNumbers[0], public_of(config, peer.address));
    }
    for (const RelayEndpoint& relayed : cluster_.ports()) {
      for (const Endpoint& peer : kPeers)
        promises.check_from_peer(relayed, {public_of(config, peer.address), peer.port});
    }
  }

  const std::uint8_t seed_;
  std::uint64_t random_;
  std::array<Said, 4> said_;                      // last, by client
  std::vector<TokenSealer::Token> given_tokens_;  // the first is nobody's
  std::uint32_t transactions_ = 0;
  bool keys_come_late_ = false;
  bool pending_ = false;  // the request in hand waits for keys
  bool sink_full_ = false;
  std::uint32_t room_ = 0;  // what a full sink still takes
  std::array<bool, 2> struck_off_{};
  Cluster cluster_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  try {
    World(Shape(data[0]), data[1]).run({data + 2, size - 2});
  } catch (const Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what.c_str());
    std::abort();
  }
  return 0;
}
