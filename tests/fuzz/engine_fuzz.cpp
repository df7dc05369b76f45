// Bytes as a program against the engine: eight of them are a step, in which one of a few clients
// says something, right or wrong, whole or damaged, or time passes, keys come, a user is struck
// off, a flow table is full. After every step what is open is held against what the server has
// promised (tests/simulation), the ledger against what is open, and every answer against its
// question and what is due; at the end all time runs out, and nothing may be left.
//
// Unlike the simulation's, its sequences grow from those that reached something new, and nothing
// stands before the server: what the front door would have turned away comes in.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "../simulation/promises.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"

namespace {

using namespace turnpike;              // NOLINT
using namespace turnpike::simulation;  // NOLINT
using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;
using stun::PasswordAlgorithm;

constexpr const char* kRealm = "example.org";
constexpr std::uint32_t kQuota = 3;
constexpr std::size_t kStepSize = 8;
constexpr std::size_t kMaxSteps = 200;
const Address kInternal4 = Address::v4(192, 0, 2, 2);
const Address kExternal4 = Address::v4(198, 51, 100, 2);
const Address kInternal6 = *Address::parse("2001:db8::2");
// The last one redirects.
const std::array<Endpoint, 3> kServers{Endpoint{Address::v4(192, 0, 2, 1), 3478},
                                       Endpoint{Address::v4(192, 0, 2, 1), 3479},
                                       Endpoint{Address::v4(192, 0, 2, 9), 3478}};
// The last one is behind a tunnel.
const std::array<Endpoint, 4> kClients{
    Endpoint{Address::v4(203, 0, 113, 1), 40000}, Endpoint{Address::v4(203, 0, 113, 1), 40001},
    Endpoint{*Address::parse("2001:db8:1::1"), 40000}, Endpoint{*Address::parse("2001::1"), 40000}};
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

struct User {
  UserKeys keys;
  std::array<std::uint8_t, 32> hash{};
};

const std::array<User, 2>& users() {
  static const std::array<User, 2> both = [] {
    std::array<User, 2> made;
    for (std::size_t i = 0; i < made.size(); ++i) {
      const std::string name = i == 0 ? "ann" : "bob";
      made[i].keys = {name,
                      name,
                      {stun::long_term_key(PasswordAlgorithm::kMd5, name, kRealm, name + "'s")},
                      {stun::long_term_key(PasswordAlgorithm::kSha256, name, kRealm, name + "'s")}};
      made[i].hash = stun::userhash(name, kRealm);
    }
    return made;
  }();
  return both;
}

std::optional<std::size_t> find_user(const UserName& name) {
  for (std::size_t i = 0; i < users().size(); ++i) {
    if (name.userhash ? users()[i].hash == *name.userhash
                      : users()[i].keys.username == name.username)
      return i;
  }
  return std::nullopt;
}

UserName name_in(const MessageView& message) {
  UserName name;
  name.username = message.text(Attribute::kUsername).value_or("");
  const auto hash = message.find(Attribute::kUserhash);
  if (hash && hash->value.size() == 32) {
    name.userhash.emplace();
    std::copy(hash->value.begin(), hash->value.end(), name.userhash->begin());
  }
  return name;
}

struct Sent {
  FiveTuple five_tuple;
  std::vector<std::uint8_t> bytes;
  std::size_t covered = 0;  // how many bytes an integrity attribute vouches for
  bool forged = false;      // by its making nothing that may succeed
};

class Shard final : public ServerHost {
 public:
  Shard(class World& world, std::set<RelayEndpoint>& ports);
  void reply(RequestToken token, stun::Bytes message) override;
  void discard(RequestToken token, Discard reason) override;
  KeyState find_keys(const UserName& user, std::string_view realm, KeyPurpose purpose,
                     UserKeys& out) override;
  void unauthorized(const ClientEndpoint& /*client*/, Unauthorized /*reason*/) override {}
  PeerVerdict check_peer(const Address& /*relayed*/, const Address& peer) override {
    return peer == kForbidden ? PeerVerdict::kForbidden : PeerVerdict::kAllowed;
  }
  std::uint32_t random_below(std::uint32_t bound) override;
  FlowSink& flows() override { return sink; }

  FakeSink sink;
  std::unique_ptr<Server> server;
  std::uint64_t handed = 0;

 private:
  class World& world_;
};

class World {
 public:
  World(std::uint8_t shape, std::uint8_t seed) : seed_(seed), random_(seed) {
    const unsigned shards = (shape & 1) != 0 ? 3 : 1;
    config_.realm = kRealm;
    config_.relayed = {{kInternal4, kExternal4}};
    if ((shape & 2) != 0) config_.relayed.push_back({kInternal6, std::nullopt});
    // Few ports: two blocks' ends, so that of three shards one has none.
    config_.port_min = 50108;
    config_.port_max = (shape & 4) != 0 ? 50115 : 50111 + 64 * 3;
    config_.max_allocations = (shape & 8) != 0 ? 2 : 100;
    config_.max_permissions_per_allocation = 3;
    config_.max_channels_per_allocation = 3;
    config_.max_parked = 3;
    config_.strict_expiry = (shape & 16) != 0;
    if ((shape & 32) != 0) config_.software = "Turnpike";
    config_.redirects = {{kServers[2], {kServers[0]}}};
    model_ = std::make_unique<Model>(config_, config_.max_allocations == 100);
    for (unsigned i = 0; i < shards; ++i) {
      ServerConfig config = config_;
      config.shard = static_cast<std::uint8_t>(i);
      config.shard_count = static_cast<std::uint8_t>(shards);
      shards_.push_back(std::make_unique<Shard>(*this, ports_));
      shards_[i]->server = std::make_unique<Server>(config, *shards_[i], nonces_, tokens_, quotas_);
      free_ports_ += shards_[i]->server->counters().free_ports.get();
    }
    given_tokens_.resize(1);
  }

  void run(std::span<const std::uint8_t> program) {
    for (std::size_t i = 0; i < kMaxSteps && program.size() >= kStepSize; ++i) {
      const auto operands = program.first<kStepSize>();
      program = program.subspan(kStepSize);
      step(operands, program);
      check();
    }
    end();
  }

  // --- what a server asks of the world

  void answered(const Shard& by, RequestToken token, stun::Bytes bytes) {
    const Sent sent = take(token);
    MessageView request;
    MessageView answer;
    require(MessageView::parse(sent.bytes, request) == stun::ParseError::kNone &&
                MessageView::parse(bytes, answer) == stun::ParseError::kNone,
            "an answer is not STUN");
    require(
        request.transaction_id() == answer.transaction_id() && request.method() == answer.method(),
        "an answer to another question");
    require(request.has_fingerprint() == answer.has_fingerprint(),
            "a fingerprint without being asked for, or none");
    if (answer.message_class() == Class::kSuccess) return succeeded(by, sent, request, answer);
    require(answer.message_class() == Class::kError && answer.error_code().has_value(),
            "an answer is neither a success nor an error");
    refused(by, sent, request, answer);
  }
  Sent take(RequestToken token) {
    const auto found = open_.find(token);
    require(found != open_.end(), "a request is answered twice");
    Sent sent = std::move(found->second);
    open_.erase(found);
    return sent;
  }

  KeyState find_keys(const UserName& name, UserKeys& out) {
    const auto user = find_user(name);
    if (keys_come_late_) {
      pending_ = true;
      return KeyState::kPending;
    }
    if (!user || struck_off_[*user]) return KeyState::kUnknown;
    out = users()[*user].keys;
    return KeyState::kFound;
  }

  // The extremes, too: what is drawn at random is then the same again and again.
  std::uint32_t random_below(std::uint32_t bound) {
    if (seed_ == 0) return 0;
    if (seed_ == 255) return bound - 1;
    random_ = random_ * 6364136223846793005 + 1442695040888963407;
    return static_cast<std::uint32_t>((random_ >> 32) * bound >> 32);
  }

  // No more is published than there is room for.
  bool sink_is_full() {
    if (!sink_full_) return false;
    if (room_ == 0) {
      sink_refused_ = true;
      return true;
    }
    --room_;
    return false;
  }

 private:
  using Operands = std::span<const std::uint8_t, kStepSize>;

  void step(Operands in, std::span<const std::uint8_t>& rest) {
    switch (in[0] % 16) {
      case 0:
      case 1:
      case 2:
        return say(in, Method::kAllocate);
      case 3:
      case 4:
        return say(in, Method::kRefresh);
      case 5:
      case 6:
        return say(in, Method::kCreatePermission);
      case 7:
      case 8:
        return say(in, Method::kChannelBind);
      case 9:
        return say_again(in);
      case 10: {
        const std::size_t size = std::min<std::size_t>(in[7], rest.size());
        hand({five_tuple(in[1]), {rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(size)}});
        rest = rest.subspan(size);
        return;
      }
      case 11:
        now_.ms += in[1] * 10U;
        return;
      case 12:
        now_.ms += in[1] * 20'000U;
        return tick(in[2]);
      case 13:
        return bring_keys(in);
      case 14:
        keys_come_late_ = (in[1] & 1) != 0;
        sink_full_ = (in[1] & 2) != 0;
        room_ = in[2];
        struck_off_ = {(in[1] & 4) != 0, (in[1] & 8) != 0};
        return;
      default:
        return tick(in[2]);
    }
  }

  void tick(std::uint8_t which) {
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      if ((which >> i & 1) == 0) shards_[i]->server->tick(now_);
    }
  }

  // Asked for or not, and by whichever name.
  void bring_keys(Operands in) {
    const std::size_t which = in[1] & 1;
    const User& user = users()[which];
    UserName name{user.keys.username, std::nullopt};
    if ((in[1] & 2) != 0) name = {"", user.hash};
    if ((in[1] & 4) != 0) name = {"mallory", std::nullopt};
    const bool known = !struck_off_[which] && (in[1] & 4) == 0;
    sink_refused_ = false;
    for (const auto& shard : shards_)
      shard->server->keys_arrived(now_, name, (in[1] & 8) != 0 ? "example.com" : kRealm,
                                  known ? &user.keys : nullptr);
  }

  // --- what clients say

  static FiveTuple five_tuple(std::uint8_t who) {
    static constexpr std::array<std::size_t, 4> kServerOf{0, 0, 1, 2};
    return {ClientEndpoint{kClients[who & 3]}, kServers[kServerOf[who >> 2 & 3]], Transport::kUdp};
  }

  // in[1]: who and to whom, as whom, with which transaction; in[2]: how it is signed; in[3…7]:
  // what.
  void say(Operands in, Method method) {
    Sent sent;
    sent.five_tuple = five_tuple(in[1]);
    stun::TransactionId id{};
    if ((in[1] & 64) == 0) ++transactions_;
    id[0] = static_cast<std::uint8_t>(transactions_);
    id[1] = static_cast<std::uint8_t>(transactions_ >> 8);
    std::array<std::uint8_t, 1024> buffer{};
    MessageWriter writer(buffer, Class::kRequest, method, id);
    if ((in[7] & 128) != 0) add_nonsense(writer, in);
    if (method == Method::kAllocate) fill_allocate(writer, in);
    if (method == Method::kRefresh) fill_refresh(writer, in);
    if (method == Method::kCreatePermission) fill_permission(writer, in);
    if (method == Method::kChannelBind) fill_channel(writer, in);
    sign(writer, in, sent);
    if ((in[1] & 128) != 0) writer.add_fingerprint();
    const auto bytes = writer.finish();
    sent.bytes.assign(bytes.begin(), bytes.end());
    said_[in[1] & 3] = sent;
    hand(sent);
  }

  static void add_nonsense(MessageWriter& writer, Operands in) {
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
    const std::array<std::uint8_t, 36> value{in[4], in[5], in[6]};
    writer.add(kAny[in[7] & 15], stun::Bytes(value).first(in[6] % (value.size() + 1)));
  }

  void fill_allocate(MessageWriter& writer, Operands in) {
    const std::uint8_t mix = in[3];
    if ((mix & 1) == 0)
      writer.add_u8_rfffu(Attribute::kRequestedTransport, (in[7] & 64) != 0 ? 6 : 17);
    if ((mix & 2) != 0) writer.add_u32(Attribute::kLifetime, in[4] * 20U);
    if ((mix & 4) != 0) writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, in[5] & 3);
    if ((mix & 8) != 0)
      writer.add_u8_rfffu(Attribute::kAdditionalAddressFamily, (in[5] >> 2 & 3) ^ 2);
    if ((mix & 16) != 0)
      writer.add(
          Attribute::kEvenPort,
          std::array<std::uint8_t, 1>{static_cast<std::uint8_t>((in[5] & 16) != 0 ? 0 : 0x80)});
    if ((mix & 32) != 0)
      writer.add(Attribute::kReservationToken, given_tokens_[in[6] % given_tokens_.size()]);
    if ((mix & 64) != 0) writer.add(Attribute::kDontFragment, {});
  }

  static void fill_refresh(MessageWriter& writer, Operands in) {
    if ((in[3] & 1) == 0) writer.add_u32(Attribute::kLifetime, in[4] * 20U);
    if ((in[3] & 2) != 0) writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, in[5] & 3);
  }

  static void fill_permission(MessageWriter& writer, Operands in) {
    for (std::uint8_t i = 0; i <= (in[3] & 3); ++i)
      writer.add_xor_address(Attribute::kXorPeerAddress, kPeers[in[4U + i] % kPeers.size()]);
  }

  static void fill_channel(MessageWriter& writer, Operands in) {
    if ((in[3] & 1) == 0) writer.add_channel_number(kNumbers[in[4] % kNumbers.size()]);
    if ((in[3] & 2) == 0)
      writer.add_xor_address(Attribute::kXorPeerAddress, kPeers[in[5] % kPeers.size()]);
  }

  void sign(MessageWriter& writer, Operands in, Sent& sent) {
    const std::uint8_t how = in[2];
    sent.forged = (how & (16 | 32 | 64)) != 0;
    if ((how & 32) != 0) return;
    const std::size_t own = in[1] & 1;
    const std::size_t which = (in[1] >> 4 & 3) == 1 ? 1 - own : own;
    const User& user = users()[which];
    if ((in[1] >> 4 & 3) == 2) {
      writer.add_text(Attribute::kUsername, "mallory");
      sent.forged = true;
    } else if ((in[1] >> 4 & 3) == 3) {
      writer.add(Attribute::kUserhash, user.hash);
    } else {
      writer.add_text(Attribute::kUsername, user.keys.username);
    }
    writer.add_text(Attribute::kRealm, (how & 64) != 0 ? "example.com" : kRealm);
    add_nonce(writer, how >> 2 & 3, sent);
    const std::uint8_t scheme = how & 3;
    static constexpr std::array<std::uint8_t, 8> kList{0, 2, 0, 0, 0, 1, 0, 0};
    if (scheme != 0) {
      // Of the last scheme somebody on the way has weakened the list.
      writer.add(Attribute::kPasswordAlgorithms, stun::Bytes(kList).last(scheme == 3 ? 4 : 8));
      writer.add_u32(Attribute::kPasswordAlgorithm, scheme == 2 ? 0x0002'0000 : 0x0001'0000);
      sent.forged |= scheme == 3;
    }
    stun::Key key = scheme == 2 ? user.keys.sha256[0] : user.keys.md5[0];
    if ((how & 16) != 0) key.bytes[0] ^= 1;
    MessageWriter copy = writer;
    sent.covered = copy.finish().size();
    if (scheme == 0 || (how & 128) != 0) writer.add_message_integrity(key.view());
    if (scheme != 0) writer.add_message_integrity_sha256(key.view());
  }

  void add_nonce(MessageWriter& writer, int which, Sent& sent) {
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    ClientEndpoint client = sent.five_tuple.client;
    if (which == 2) client.port ^= 1;  // somebody else's
    std::size_t size =
        nonces_.mint(which == 1 ? Instant{kStartMs} : now_, client, sent.five_tuple.server, nonce);
    if (which == 3) nonce[size - 1] ^= 1;
    sent.forged |= which >= 2;
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
  }

  // What a client said last, as it was, cut short, or with one bit the other way.
  void say_again(Operands in) {
    Sent sent = said_[in[1] & 3];
    if (sent.bytes.empty()) return;
    const std::size_t at = (in[4] | in[5] << 8U) % sent.bytes.size();
    if ((in[3] & 3) == 1) {
      sent.bytes[at] ^= static_cast<std::uint8_t>(1U << (in[6] & 7));
      sent.forged |= at < sent.covered;
    }
    if ((in[3] & 3) == 2) {
      sent.forged |= at <= sent.covered;
      sent.bytes.resize(at & ~std::size_t{3});
      // With the length put right, it is a message still.
      if (sent.bytes.size() >= stun::kHeaderSize) {
        const std::size_t length = sent.bytes.size() - stun::kHeaderSize;
        sent.bytes[2] = static_cast<std::uint8_t>(length >> 8);
        sent.bytes[3] = static_cast<std::uint8_t>(length);
      }
    }
    if ((in[3] & 3) == 3) {
      sent.forged |= sent.five_tuple != five_tuple(in[1]);
      sent.five_tuple = five_tuple(in[1]);  // somebody has overheard it
    }
    hand(sent);
  }

  // To the shard that workers would choose: the one that has the five-tuple, or sealed the token,
  // or is the five-tuple's home.
  void hand(const Sent& sent) {
    std::size_t shard = (sent.five_tuple.client.port + sent.five_tuple.server.port +
                         sent.five_tuple.client.address.bytes[0]) %
                        shards_.size();
    MessageView message;
    if (MessageView::parse(sent.bytes, message) == stun::ParseError::kNone) {
      const auto found = message.find(Attribute::kReservationToken);
      const auto content = found ? tokens_.open(found->value) : std::nullopt;
      if (content) shard = content->shard;
    }
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      for (const auto& [slot, flow] : shards_[i]->sink.allocations) {
        if (flow.five_tuple == sent.five_tuple) shard = i;
      }
    }
    const RequestToken token{++tokens_made_};
    open_[token] = sent;
    ++shards_[shard]->handed;
    pending_ = false;
    sink_refused_ = false;
    // Of exactly its size, so that a byte read beyond it is noticed.
    const std::vector<std::uint8_t> bytes = sent.bytes;
    shards_[shard]->server->handle(now_, sent.five_tuple, bytes, token);
    require(pending_ || !open_.contains(token), "a request is neither answered nor given up");
  }

  // --- what is checked

  void succeeded(const Shard& by, const Sent& sent, const MessageView& request,
                 const MessageView& answer) {
    require(!sent.forged, "a forged request succeeds");
    const auto which = find_user(name_in(request));
    require(which.has_value(), "nobody succeeds");
    const User& user = users()[*which];
    require_integrity(request, answer, user);
    judge(by, sent, user, request, 0);
    require(sent.five_tuple.server != kServers[2], "a redirected client succeeds");
    model_->forget(now_);
    const bool made =
        request.method() == Method::kAllocate && !model_->allocations().contains(sent.five_tuple);
    if (made) {
      require(sent.five_tuple.client != ClientEndpoint{kClients[3]}, "a tunnelled client succeeds");
      owners_[sent.five_tuple] = *which;
    }
    const bool wants_leave =
        made || (request.method() == Method::kRefresh && config_.strict_expiry);
    require(!wants_leave || !struck_off_[*which], "a user who has been struck off succeeds");
    if (const auto token = answer.find(Attribute::kReservationToken)) {
      TokenSealer::Token copy{};
      require(token->value.size() == copy.size(), "a token of another size");
      std::copy(token->value.begin(), token->value.end(), copy.begin());
      given_tokens_.push_back(copy);
    }
    model_->success(now_, sent.five_tuple, user.keys.username, request, answer);
  }

  void refused(const Shard& by, const Sent& sent, const MessageView& request,
               const MessageView& answer) {
    const std::uint16_t code = *answer.error_code();
    if (!answer.has(Attribute::kMessageIntegrity) &&
        !answer.has(Attribute::kMessageIntegritySha256)) {
      return require(code == 400 || code == 401 || code == 438,
                     "a refusal of a known client's is unsigned");
    }
    require(!sent.forged, "a forged request gets a signed refusal");
    const auto which = find_user(name_in(request));
    require(which.has_value(), "nobody gets a signed refusal");
    require_integrity(request, answer, users()[*which]);
    judge(by, sent, users()[*which], request, code);
  }

  // Both are the user's, of the kind that is due.
  static void require_integrity(const MessageView& request, const MessageView& answer,
                                const User& user) {
    const bool modern = request.has(Attribute::kPasswordAlgorithm);
    const bool sha256_key = request.u32(Attribute::kPasswordAlgorithm) == 0x0002'0000U;
    const stun::Bytes key = (sha256_key ? user.keys.sha256 : user.keys.md5)[0].view();
    require(request.has(Attribute::kMessageIntegritySha256)
                ? stun::check_message_integrity_sha256(request, key)
                : stun::check_message_integrity(request, key),
            "a stranger is answered as a user");
    require(modern ? stun::check_message_integrity_sha256(answer, key) &&
                         !answer.has(Attribute::kMessageIntegrity)
                   : stun::check_message_integrity(answer, key) &&
                         !answer.has(Attribute::kMessageIntegritySha256),
            "an answer is not signed as its request was");
  }

  void judge(const Shard& by, const Sent& sent, const User& user, const MessageView& request,
             std::uint16_t result) {
    // While a request waited for keys, the five-tuple may have come to another shard's.
    for (const auto& shard : shards_) {
      for (const auto& [slot, flow] : shard->sink.allocations) {
        if (flow.five_tuple == sent.five_tuple && shard.get() != &by) return;
      }
    }
    Model::Circumstances circumstances;
    circumstances.tables_may_be_full = sink_refused_;
    circumstances.ports_may_be_short = by.sink.allocations.size() >= config_.max_allocations ||
                                       config_.port_max - config_.port_min < 64 * 3;
    circumstances.one_shard = shards_.size() == 1;
    circumstances.tunnelled = sent.five_tuple.client == ClientEndpoint{kClients[3]};
    circumstances.held = quotas_.count(user.keys.quota_name);
    circumstances.quota = kQuota;
    model_->judge(now_, sent.five_tuple, user.keys.username, request, result, circumstances);
  }

  void check() {
    model_->forget(now_);
    std::vector<const FakeSink*> sinks;
    std::uint64_t free_ports = 0;
    std::uint64_t reserved = 0;
    for (const auto& shard : shards_) {
      const ServerCounters& counters = shard->server->counters();
      check_counters(config_, counters, shard->sink);
      free_ports += counters.free_ports.get();
      reserved += counters.reservations.get();
      sinks.push_back(&shard->sink);
    }
    require(free_ports + reserved + ports_.size() <= free_ports_, "a port is free and in use");
    Promises promises(config_, *model_, sinks, now_);
    promises.check_flows();
    for (const auto& [five_tuple, promised] : model_->allocations()) {
      for (const Endpoint& peer : kPeers)
        promises.check_from_client(five_tuple, kNumbers[0], face_of(config_, peer.address));
    }
    for (const RelayEndpoint& relayed : ports_) {
      for (const Endpoint& peer : kPeers)
        promises.check_from_peer(relayed, {face_of(config_, peer.address), peer.port});
    }
    check_quotas();
  }

  // What has expired counts until its shard looks, and is published as long. Reservations count as
  // allocations of those who made them.
  void check_quotas() const {
    std::array<std::uint32_t, 2> counts{};
    std::uint64_t in_all = 0, counted = 0;
    for (const auto& shard : shards_) {
      for (const auto& [slot, flow] : shard->sink.allocations)
        ++counts[owners_.at(flow.five_tuple)];
      in_all += shard->sink.allocations.size() + shard->server->counters().reservations.get();
    }
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const std::uint32_t count = quotas_.count(users()[i].keys.quota_name);
      require(count <= kQuota, "a quota is exceeded");
      require(count >= counts[i], "the ledger has lost an allocation");
      counted += count;
    }
    require(counted == in_all, "the ledger counts otherwise than there are allocations");
  }

  void end() {
    // Longer than anything lives; then than anything rests.
    for (const std::uint64_t more_ms : {4'000'000U, 100'000U}) {
      now_.ms += more_ms;
      tick(0);
      check();
    }
    std::uint64_t free_ports = 0;
    for (const auto& shard : shards_) {
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
    require(free_ports == free_ports_, "a relay port is lost, or there twice");
  }

  static constexpr std::uint64_t kStartMs = 1'000'000;
  const std::uint8_t seed_;
  std::uint64_t random_;
  Instant now_{kStartMs};
  ServerConfig config_;
  NonceKeeper nonces_{{.realm = kRealm, .lifetime_s = 600, .key = {7}}};
  TokenSealer tokens_{{8}};
  QuotaLedger quotas_{kQuota, 0, true};
  std::set<RelayEndpoint> ports_;
  std::uint64_t free_ports_ = 0;
  std::unique_ptr<Model> model_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::array<Sent, 4> said_;  // last, by client
  std::map<FiveTuple, std::size_t> owners_;
  std::vector<TokenSealer::Token> given_tokens_;  // the first is nobody's
  std::map<RequestToken, Sent> open_;
  std::uint64_t tokens_made_ = 0;
  std::uint32_t transactions_ = 0;
  bool keys_come_late_ = false;
  bool pending_ = false;  // the request in hand waits for keys
  bool sink_full_ = false;
  std::uint32_t room_ = 0;     // what a full sink still takes
  bool sink_refused_ = false;  // while the requests in hand were
  std::array<bool, 2> struck_off_{};
};

Shard::Shard(World& world, std::set<RelayEndpoint>& ports)
    : sink(ports, [&world] { return world.sink_is_full(); }), world_(world) {}
void Shard::reply(RequestToken token, stun::Bytes message) {
  world_.answered(*this, token, message);
}
void Shard::discard(RequestToken token, Discard /*reason*/) {
  world_.take(token);
}
KeyState Shard::find_keys(const UserName& user, std::string_view /*realm*/, KeyPurpose /*purpose*/,
                          UserKeys& out) {
  return world_.find_keys(user, out);
}
std::uint32_t Shard::random_below(std::uint32_t bound) {
  return world_.random_below(bound);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  try {
    World(data[0], data[1]).run({data + 2, size - 2});
  } catch (const Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what.c_str());
    std::abort();
  }
  return 0;
}
