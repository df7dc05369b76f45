// Who asks: the order of RFC 8489 §9.2.4 for requests whose nonce the front door has seen already
// (PROTOCOL.md 9), and what every answer has in common.
#include "turnpike/server.h"

#include <algorithm>

#include "turn/server_impl.h"
#include "wire/headers.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr std::size_t kUnknownMax = 16;

HashKey random_key(ServerHost& host) {
  HashKey key{};
  for (std::uint64_t& word : key) {
    for (int i = 0; i < 4; ++i)
      word = word << 16 | host.random_below(0x10000);
  }
  return key;
}

}  // namespace

std::size_t FiveTupleHash::operator()(const FiveTuple& five_tuple) const {
  const auto words = [](const Address& address) {
    return std::pair(wire::load_be64(address.bytes.data()),
                     wire::load_be64(address.bytes.data() + 8));
  };
  const auto [a, b] = words(five_tuple.client.address);
  const auto [c, d] = words(five_tuple.server.address);
  const std::uint64_t ports = std::uint64_t{five_tuple.client.port} << 16 | five_tuple.server.port;
  return table_hash(key_, table_hash(key_, a, b, ports), c, d);
}

Server::Impl::Impl(const ServerConfig& config, ServerHost& host, const NonceKeeper& nonces,
                   const TokenSealer& tokens, QuotaLedger& quotas)
    : config_(config),
      host_(host),
      nonces_(nonces),
      tokens_(tokens),
      quotas_(quotas),
      algorithms_(config.sha256_offered, true),
      allocations_(config.max_allocations, FiveTupleHash(random_key(host))),
      tombstones_(1024, FiveTupleHash(random_key(host))) {
  for (std::size_t i = 0; i < config_.relayed.size(); ++i) {
    pools_.emplace_back(config_.port_min, config_.port_max, config_.shard, config_.shard_count);
  }
  parked_.reserve(config_.max_parked);
  update_gauges();
}

Server::Impl::~Impl() = default;

void Server::Impl::handle(Instant now, const FiveTuple& five_tuple, stun::Bytes bytes,
                          RequestToken token) {
  Request request{now, five_tuple, token, {}, {}, {}};
  const bool parsed = MessageView::parse(bytes, request.message) == stun::ParseError::kNone;
  const auto known = std::find(kMethods.begin(), kMethods.end(), request.message.method());
  if (!parsed || request.message.message_class() != Class::kRequest || known == kMethods.end()) {
    counters.discards[static_cast<std::size_t>(Discard::kMalformed)].add();
    return host_.discard(token, Discard::kMalformed);
  }
  const auto found = allocations_.find(five_tuple);
  Allocation* allocation = found == allocations_.end() ? nullptr : &found->second;
  if (allocation != nullptr) {
    expire(*allocation, now_s(now));
    if (!allocation->relayed[0] && !allocation->relayed[1]) {
      remove(five_tuple, now_s(now));
      allocation = nullptr;
    }
  }
  authenticate(request, allocation);
}

bool Server::Impl::same_user(const MessageView& message, const Allocation& allocation) const {
  if (const auto name = message.text(Attribute::kUsername))
    return *name == allocation.keys.username;
  const auto hash = message.find(Attribute::kUserhash);
  const auto own = stun::userhash(allocation.keys.username, config_.realm);
  return hash && stun::equal_constant_time(hash->value, own);
}

void Server::Impl::authenticate(Request& request, Allocation* allocation) {
  const MessageView& message = request.message;
  const auto username = message.text(Attribute::kUsername);
  const auto userhash = message.find(Attribute::kUserhash);
  const auto realm = message.text(Attribute::kRealm);
  const auto nonce = message.text(Attribute::kNonce);
  if (!message.has(Attribute::kMessageIntegrity) &&
      !message.has(Attribute::kMessageIntegritySha256)) {
    return challenge(request, 401);
  }
  if (!realm || !nonce || username.has_value() == userhash.has_value() ||
      (userhash && userhash->value.size() != 32)) {
    MessageWriter writer = begin(request, Class::kError);
    writer.add_error_code(400);
    return send(request, writer, 400, false);
  }
  if (*realm != config_.realm) return challenge(request, 401);

  // A retransmission is recognised before its nonce's age is judged (PROTOCOL.md 9).
  const NonceState state =
      nonces_.check(request.now, request.five_tuple.client, request.five_tuple.server, *nonce);
  const bool retransmission = allocation != nullptr && message.method() == Method::kAllocate &&
                              allocation->created_by == message.transaction_id();
  if (state == NonceState::kInvalid || (state == NonceState::kStale && !retransmission)) {
    return challenge(request, 438);
  }
  if (!stun::algorithms_untampered(message, algorithms_)) {
    MessageWriter writer = begin(request, Class::kError);
    writer.add_error_code(400);
    return send(request, writer, 400, false);
  }

  const bool strict_refresh = config_.strict_expiry && message.method() == Method::kRefresh;
  if (allocation != nullptr && same_user(message, *allocation) && !strict_refresh) {
    // By value: judge() may end the allocation.
    const UserKeys keys = allocation->keys;
    return judge(request, allocation, KeyState::kFound, keys);
  }
  UserName user;
  if (username) user.username = *username;
  if (userhash) {
    user.userhash.emplace();
    std::copy(userhash->value.begin(), userhash->value.end(), user.userhash->begin());
  }
  const KeyPurpose purpose = message.method() == Method::kAllocate  ? KeyPurpose::kAllocate
                             : message.method() == Method::kRefresh ? KeyPurpose::kRefresh
                                                                    : KeyPurpose::kOther;
  UserKeys keys;
  const KeyState found = host_.find_keys(user, config_.realm, purpose, keys);
  if (found == KeyState::kPending) return park(request);
  judge(request, allocation, found, keys);
}

// Whether the message's integrity, of whichever kind it has, is right under `key`.
bool Server::Impl::matches(const Request& request, const stun::Key& key) const {
  return request.message.has(Attribute::kMessageIntegritySha256)
             ? stun::check_message_integrity_sha256(request.message, key.view())
             : stun::check_message_integrity(request.message, key.view());
}

void Server::Impl::judge(Request& request, Allocation* allocation, KeyState state,
                         const UserKeys& keys) {
  const auto chosen = stun::password_algorithm(request.message);
  const bool sha256_key =
      chosen && *chosen == static_cast<std::uint16_t>(stun::PasswordAlgorithm::kSha256);
  const std::vector<stun::Key>& candidates = sha256_key ? keys.sha256 : keys.md5;
  std::size_t which = candidates.size();
  if (state == KeyState::kFound) {
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (which == candidates.size() && matches(request, candidates[i])) which = i;
    }
  }
  if (state != KeyState::kFound || candidates.empty()) {
    // An unknown user takes as long as a wrong password.
    stun::Key nobody;
    nobody.size = sha256_key ? 32 : 16;
    static_cast<void>(matches(request, nobody));
  }
  if (which == candidates.size()) return challenge(request, 401);

  request.credentials.key = candidates[which];
  request.credentials.sha256 = chosen.has_value();
  request.user.username = keys.username;
  request.user.quota_name = keys.quota_name;
  // The other kind of key belongs to the same secret: it stands in the same place.
  if (which < keys.md5.size()) request.user.md5 = {keys.md5[which]};
  if (which < keys.sha256.size()) request.user.sha256 = {keys.sha256[which]};
  dispatch(request, allocation);
}

void Server::Impl::dispatch(Request& request, Allocation* allocation) {
  std::array<std::uint16_t, kUnknownMax> unknown{};
  if (const std::size_t n = stun::unknown_attributes(request.message, unknown); n != 0) {
    return refuse_unknown(request, std::span(unknown).first(n));
  }
  if (allocation != nullptr && allocation->keys.username != request.user.username)
    return refuse(request, 441);
  const Method method = request.message.method();
  if (method == Method::kAllocate) return allocate(request, allocation);
  if (allocation == nullptr) return refuse(request, 437);
  if (method == Method::kRefresh) return refresh(request, *allocation);
  if (method == Method::kCreatePermission) return create_permission(request, *allocation);
  channel_bind(request, *allocation);
}

// --- waiting for keys (PROTOCOL.md 10)

void Server::Impl::park(const Request& request) {
  const stun::Bytes bytes = request.message.bytes();
  const auto same = [&](const Parked& one) {
    return one.five_tuple == request.five_tuple &&
           std::equal(bytes.begin(), bytes.end(), one.bytes.begin(), one.bytes.end());
  };
  const bool duplicate = std::any_of(parked_.begin(), parked_.end(), same);
  if (duplicate || parked_.size() == config_.max_parked) {
    const Discard reason = duplicate ? Discard::kDuplicateParked : Discard::kParkingFull;
    counters.discards[static_cast<std::size_t>(reason)].add();
    return host_.discard(request.token, reason);
  }
  parked_.push_back({request.five_tuple,
                     {bytes.begin(), bytes.end()},
                     request.token,
                     request.now.ms + config_.parked_timeout_ms});
}

void Server::Impl::keys_arrived(Instant now, const UserName& user, std::string_view realm,
                                const UserKeys* keys) {
  if (realm != config_.realm) return;
  std::vector<Parked> ready;
  for (std::size_t i = 0; i < parked_.size();) {
    MessageView message;
    static_cast<void>(MessageView::parse(parked_[i].bytes, message));
    const auto name = message.text(Attribute::kUsername);
    const auto hash = message.find(Attribute::kUserhash);
    const bool wanted = user.userhash
                            ? hash && std::equal(hash->value.begin(), hash->value.end(),
                                                 user.userhash->begin(), user.userhash->end())
                            : name && *name == user.username;
    if (!wanted) {
      ++i;
      continue;
    }
    ready.push_back(std::move(parked_[i]));
    parked_.erase(parked_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  for (const Parked& one : ready) {
    Request request{now, one.five_tuple, one.token, {}, {}, {}};
    static_cast<void>(MessageView::parse(one.bytes, request.message));
    const auto found = allocations_.find(one.five_tuple);
    Allocation* allocation = found == allocations_.end() ? nullptr : &found->second;
    judge(request, allocation, keys != nullptr ? KeyState::kFound : KeyState::kUnknown,
          keys != nullptr ? *keys : UserKeys{});
  }
}

// --- answers

MessageWriter Server::Impl::begin(const Request& request, Class message_class) {
  return {answer_, message_class, request.message.method(), request.message.transaction_id()};
}

void Server::Impl::send(const Request& request, MessageWriter& writer, std::uint16_t result,
                        bool sign) {
  if (!config_.software.empty()) writer.add_text(Attribute::kSoftware, config_.software);
  if (sign && request.credentials.sha256)
    writer.add_message_integrity_sha256(request.credentials.key.view());
  if (sign && !request.credentials.sha256)
    writer.add_message_integrity(request.credentials.key.view());
  if (request.message.has_fingerprint()) writer.add_fingerprint();
  count(request, result);
  host_.reply(request.token, writer.finish());
}

void Server::Impl::count(const Request& request, std::uint16_t result) {
  const auto method =
      std::find(kMethods.begin(), kMethods.end(), request.message.method()) - kMethods.begin();
  const auto column = std::find(kResults.begin(), kResults.end(), result) - kResults.begin();
  counters.requests[static_cast<std::size_t>(method)][static_cast<std::size_t>(column)].add();
}

void Server::Impl::challenge(const Request& request, std::uint16_t code) {
  std::array<char, NonceKeeper::kMaxSize> nonce{};
  const std::size_t size =
      nonces_.mint(request.now, request.five_tuple.client, request.five_tuple.server, nonce);
  MessageWriter writer = begin(request, Class::kError);
  writer.add_error_code(code);
  stun::add_challenge(writer, config_.realm, std::string_view(nonce.data(), size),
                      config_.sha256_offered, true);
  send(request, writer, code, false);
}

void Server::Impl::refuse(const Request& request, std::uint16_t code) {
  MessageWriter writer = begin(request, Class::kError);
  writer.add_error_code(code);
  send(request, writer, code, true);
}

void Server::Impl::refuse_unknown(const Request& request, std::span<const std::uint16_t> unknown) {
  MessageWriter writer = begin(request, Class::kError);
  writer.add_error_code(420);
  writer.add_unknown_attributes(unknown);
  send(request, writer, 420, true);
}

// --- the public face

Server::Server(const ServerConfig& config, ServerHost& host, const NonceKeeper& nonces,
               const TokenSealer& tokens, QuotaLedger& quotas)
    : impl_(std::make_unique<Impl>(config, host, nonces, tokens, quotas)) {}

Server::~Server() = default;

void Server::handle(Instant now, const FiveTuple& five_tuple, stun::Bytes request,
                    RequestToken token) {
  impl_->handle(now, five_tuple, request, token);
}

void Server::keys_arrived(Instant now, const UserName& user, std::string_view realm,
                          const UserKeys* keys) {
  impl_->keys_arrived(now, user, realm, keys);
}

void Server::tick(Instant now) {
  impl_->tick(now);
}

const ServerCounters& Server::counters() const {
  return impl_->counters;
}

}  // namespace turnpike
