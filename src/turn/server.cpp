// A request's way through the server, and what every answer has in common (RFC 8489 §6.3, §9.2.4).
#include "turnpike/server.h"

#include <algorithm>
#include <cassert>

#include "turn/server_impl.h"
#include "turn/tunnels.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr std::size_t kUnknownMax = stun::kAttributesMax;
// Some 100 µs: a request that waits behind it hardly notices.
constexpr std::size_t kEndsPerTick = 256;

}  // namespace

Server::Impl::Impl(const ServerConfig& config, ServerHost& host, const NonceKeeper& nonces,
                   const TokenSealer& tokens, QuotaLedger& quotas)
    : config_(config),
      host_(host),
      nonces_(nonces),
      tokens_(tokens),
      quotas_(quotas),
      book_(config_, host, quotas, counters),
      connects_(random_key(host)) {
  parked_.reserve(config_.max_parked);
}

Server::Impl::~Impl() = default;

void Server::Impl::handle(Instant now, const FiveTuple& five_tuple, stun::Bytes bytes,
                          RequestToken token, RealmIndex realm) {
  assert(realm < policy_->realms.size() && realm < kMostRealms);
  Request request{now, five_tuple, token, realm, {}, {}, {}};
  if (MessageView::parse(bytes, request.message) != stun::ParseError::kNone ||
      request.message.message_class() != Class::kRequest ||
      std::find(kMethods.begin(), kMethods.end(), request.message.method()) == kMethods.end()) {
    return discard(token, Discard::kMalformed);
  }
  authenticate(request, meant(request));
}

// Whatever it is for, the client learns it as it learns of any end: by 437 to what it asks next.
bool Server::Impl::end(Instant now, AllocationSlot slot) {
  Allocation* allocation = book_.at(slot);
  if (allocation == nullptr) return false;
  for (const Family family : {Family::kIpv4, Family::kIpv6})
    book_.end_family(*allocation, family, now_s(now));
  book_.settle(*allocation, now_s(now));
  return true;
}

bool Server::Impl::tick(Instant now) {
  bool more = book_.tick(now_s(now), kEndsPerTick) == kEndsPerTick;
  more |= end_connections(now, kEndsPerTick) == kEndsPerTick;
  give_up_parked(now);
  return more;
}

void Server::Impl::dispatch(Request& request, Allocation* allocation) {
  std::array<std::uint16_t, kUnknownMax> unknown{};
  if (const std::size_t n = stun::unknown_attributes(request.message, unknown); n != 0)
    return refuse_unknown(request, std::span(unknown).first(n));
  const Method method = request.message.method();
  if (method == Method::kRefresh && request.message.has(Attribute::kMobilityTicket))
    return move(request, allocation);
  if (method == Method::kConnectionBind) return connection_bind(request);
  // RFC 8656 §5: the whole username, whichever way it was given.
  if (method != Method::kAllocate && allocation != nullptr &&
      allocation->owner.username != request.user.username) {
    return refuse(request, {441, "Allocation Is Another User's"});
  }
  const bool opens = method == Method::kAllocate || method == Method::kChannelBind;
  if (opens && is_tunnelled(request.five_tuple.client.address))
    return refuse(request, {403, "Client Address Is A Tunnel's"});
  if (method == Method::kAllocate) return allocate(request, allocation);
  if (allocation == nullptr) return refuse(request, {437, "No Allocation Here"});
  if (method == Method::kRefresh) return refresh(request, *allocation);
  if (method == Method::kCreatePermission) return create_permission(request, *allocation);
  if (method == Method::kConnect) return connect(request, *allocation);
  channel_bind(request, *allocation);
}

MessageWriter Server::Impl::begin(const Request& request, Class message_class) {
  return {answer_, message_class, request.message.method(), request.message.transaction_id()};
}

MessageWriter Server::Impl::begin(const Question& question, Class message_class) {
  return {answer_, message_class, question.method, question.transaction};
}

void Server::Impl::send(const Request& request, MessageWriter& writer, std::uint16_t result,
                        bool sign) {
  const stun::Bytes answer = finish(request.question(), writer, result, sign);
  if (answer.empty()) return discard(request.token, Discard::kMalformed);
  host_.reply(request.token, answer);
}

// Nothing: it is too long, which only a monstrous realm or list of alternates makes it.
stun::Bytes Server::Impl::finish(const Question& question, MessageWriter& writer,
                                 std::uint16_t result, bool sign) {
  if (!policy_->software.empty()) writer.add_text(Attribute::kSoftware, policy_->software);
  const stun::Bytes key = question.signing_key.key.view();
  if (sign && question.signing_key.sha256) writer.add_message_integrity_sha256(key);
  if (sign && !question.signing_key.sha256) writer.add_message_integrity(key);
  if (question.fingerprint) writer.add_fingerprint();
  const stun::Bytes answer = writer.finish();
  if (!answer.empty()) count(question.method, result);
  return answer;
}

void Server::Impl::count(Method asked, std::uint16_t result) {
  const auto method = std::find(kMethods.begin(), kMethods.end(), asked) - kMethods.begin();
  const auto column = std::find(kResults.begin(), kResults.end(), result) - kResults.begin();
  counters.requests[static_cast<std::size_t>(method)][static_cast<std::size_t>(column)].add();
}

void Server::Impl::challenge(const Request& request, std::uint16_t code) {
  std::array<char, NonceKeeper::kMaxSize> nonce{};
  const Realm& realm = realm_of(request);
  const std::size_t size =
      nonces_.mint(request.now, realm, request.five_tuple.client, request.five_tuple.server, nonce);
  MessageWriter writer = begin(request, Class::kError);
  writer.add_error_code(code);
  stun::add_challenge(writer, realm, std::string_view(nonce.data(), size));
  send(request, writer, code, false);
}

void Server::Impl::refuse(const Request& request, const Refusal& refusal) {
  send_refusal(request, refusal, true);
}

// Before its sender is known there is no key to sign with.
void Server::Impl::refuse_unsigned(const Request& request, const Refusal& refusal) {
  send_refusal(request, refusal, false);
}

void Server::Impl::send_refusal(const Request& request, const Refusal& refusal, bool sign) {
  if (refusal.limit != Limit::kNone) count(refusal.limit);
  MessageWriter writer = begin(request, Class::kError);
  add_refusal(writer, refusal);
  send(request, writer, refusal.code, sign);
}

void Server::Impl::add_refusal(MessageWriter& writer, const Refusal& refusal) {
  if (refusal.cause.empty()) {
    writer.add_error_code(refusal.code);
  } else {
    writer.add_error_code(refusal.code, refusal.cause);
  }
}

void Server::Impl::refuse_unknown(const Request& request, std::span<const std::uint16_t> unknown) {
  MessageWriter writer = begin(request, Class::kError);
  writer.add_error_code(420);
  writer.add_unknown_attributes(unknown);
  send(request, writer, 420, true);
}

void Server::Impl::discard(RequestToken token, Discard reason) {
  counters.discards[static_cast<std::size_t>(reason)].add();
  host_.discard(token, reason);
}

Server::Server(const ServerConfig& config, ServerHost& host, const NonceKeeper& nonces,
               const TokenSealer& tokens, QuotaLedger& quotas)
    : impl_(std::make_unique<Impl>(config, host, nonces, tokens, quotas)) {}

Server::~Server() = default;

void Server::use(const ServerPolicy& policy) {
  impl_->use(policy);
}

void Server::handle(Instant now, const FiveTuple& five_tuple, stun::Bytes request,
                    RequestToken token, RealmIndex realm) {
  impl_->handle(now, five_tuple, request, token, realm);
}

void Server::keys_arrived(Instant now, const UserName& user, RealmIndex realm,
                          const UserKeys* keys) {
  impl_->keys_arrived(now, user, realm, keys);
}

bool Server::end(Instant now, AllocationSlot slot) {
  return impl_->end(now, slot);
}

void Server::data_came(Instant now, AllocationSlot slot, std::uint16_t move) {
  impl_->data_came(now, slot, move);
}

void Server::stream_ended(Instant now, AllocationSlot slot, std::uint16_t move) {
  impl_->stream_ended(now, slot, move);
}

void Server::heed(Instant now, const PeerStreamEvent& event) {
  impl_->heed(now, event);
}

bool Server::tick(Instant now) {
  return impl_->tick(now);
}

const ServerCounters& Server::counters() const {
  return impl_->counters;
}

}  // namespace turnpike
