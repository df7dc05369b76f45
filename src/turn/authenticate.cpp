// Who asks: the order of RFC 8489 §9.2.4 for requests whose nonce StatelessAnswers has seen
// already, and the waiting room for those whose user's keys have to be fetched.
#include <algorithm>

#include "turn/server_impl.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::MessageView;
using stun::Method;
using stun::PasswordAlgorithm;

KeyPurpose purpose_of(Method method) {
  if (method == Method::kAllocate) return KeyPurpose::kAllocate;
  return method == Method::kRefresh ? KeyPurpose::kRefresh : KeyPurpose::kOther;
}

UserName name_in(const MessageView& message) {
  UserName user;
  if (const auto username = message.text(Attribute::kUsername)) user.username = *username;
  if (const auto userhash = message.find(Attribute::kUserhash)) {
    user.userhash.emplace();
    std::copy(userhash->value.begin(), userhash->value.end(), user.userhash->begin());
  }
  return user;
}

// Named once, by the one or the other, and in full: an empty or overlong value is none, and text()
// gives none for it.
bool credentials_complete(const MessageView& message) {
  const auto userhash = message.find(Attribute::kUserhash);
  if (userhash && userhash->value.size() != 32) return false;
  return message.has(Attribute::kUsername) != userhash.has_value() &&
         (userhash || message.text(Attribute::kUsername)) && message.text(Attribute::kRealm) &&
         message.text(Attribute::kNonce);
}

// Whether the message's integrity, of whichever kind it has, is right under `key`.
bool matches(const MessageView& message, const stun::Key& key) {
  return message.has(Attribute::kMessageIntegritySha256)
             ? stun::check_message_integrity_sha256(message, key.view())
             : stun::check_message_integrity(message, key.view());
}

}  // namespace

void Server::Impl::authenticate(Request& request, Allocation* allocation) {
  const MessageView& message = request.message;
  if (!message.has(Attribute::kMessageIntegrity) &&
      !message.has(Attribute::kMessageIntegritySha256)) {
    return challenge(request, 401);
  }
  if (!credentials_complete(message))
    return refuse_unsigned(request, {400, "Credentials Incomplete"});
  const Realm& realm = realm_of(request);
  if (message.text(Attribute::kRealm) != realm.name)
    return deny(request, Unauthorized::kWrongRealm);

  // A retransmission is recognised before its nonce's age is judged: the nonce may have grown old
  // between the two. For a new allocation the nonce is no older than what is remembered of deleted
  // ones: an Allocate that somebody has overheard makes nothing, however long its nonce lives.
  const bool anew = allocation == nullptr && message.method() == Method::kAllocate;
  const std::uint32_t lifetime_s = anew ? std::min(config_.tombstone_s, nonces_.config().lifetime_s)
                                        : nonces_.config().lifetime_s;
  const NonceState nonce =
      nonces_.check(request.now, realm, request.five_tuple.client, request.five_tuple.server,
                    *message.text(Attribute::kNonce), lifetime_s);
  const bool retransmission = allocation != nullptr && message.method() == Method::kAllocate &&
                              allocation->created_by == message.transaction_id();
  if (nonce == NonceState::kInvalid || (nonce == NonceState::kStale && !retransmission))
    return challenge(request, 438);
  // The nonce is ours, so its cookie's bit for password algorithms is ours as well.
  const stun::AlgorithmList offered(realm);
  if (realm.password_algorithms && !stun::algorithms_untampered(message, offered))
    return refuse_unsigned(request, {400, "Password Algorithms Altered"});

  const Identity* owner = remembered_owner(request, allocation);
  if (owner != nullptr && prove(request, *owner)) return dispatch(request, allocation);
  UserKeys keys;
  Unauthorized reason = Unauthorized::kWrongKey;
  switch (host_.find_keys(name_in(message), request.realm, purpose_of(message.method()), keys)) {
    case KeyState::kPending:
      return park(request);
    case KeyState::kUnknown:
      reason = Unauthorized::kUnknownUser;
      break;
    case KeyState::kExpired:
      reason = Unauthorized::kExpired;
      break;
    case KeyState::kNoTimestamp:
      reason = Unauthorized::kNoTimestamp;
      break;
    case KeyState::kFound:
      break;
  }
  // Nobody's keys, rather than none at all: each refusal takes the time of an HMAC.
  if (reason != Unauthorized::kWrongKey) keys = {};
  if (!prove(request, keys)) return deny(request, reason);
  dispatch(request, allocation);
}

void Server::Impl::deny(const Request& request, Unauthorized reason) {
  counters.unauthorized[static_cast<std::size_t>(reason)].add();
  host_.unauthorized(request.five_tuple.client, reason);
  challenge(request, 401);
}

// An allocation keeps the keys that made it through its user's deletion and a secret's rollover;
// what is left of a deleted one keeps them to refuse in a way that its client believes.
const Identity* Server::Impl::remembered_owner(const Request& request,
                                               const Allocation* allocation) const {
  const Method method = request.message.method();
  if (method == Method::kRefresh && realm_of(request).strict_expiry) return nullptr;
  const Identity* owner = allocation != nullptr ? &allocation->owner : nullptr;
  if (allocation == nullptr && method != Method::kAllocate) {
    if (const Tombstone* tombstone = book_.tombstone(request.five_tuple)) owner = &tombstone->owner;
  }
  return owner != nullptr && names(request, owner->username) ? owner : nullptr;
}

bool Server::Impl::names(const Request& request, const std::string& username) const {
  const MessageView& message = request.message;
  if (const auto name = message.text(Attribute::kUsername))
    return *name == username || stun::opaque_string(*name) == username;
  const auto hash = message.find(Attribute::kUserhash);
  return hash &&
         stun::equal_constant_time(hash->value, stun::userhash(username, realm_of(request).name));
}

// Which of the keys signed the request, if one did; then the request knows how its answer is to be
// signed.
std::optional<std::size_t> Server::Impl::find_signer(Request& request,
                                                     std::span<const stun::Key> md5,
                                                     std::span<const stun::Key> sha256) const {
  const auto chosen = stun::password_algorithm(request.message);
  const bool by_sha256 = chosen == static_cast<std::uint16_t>(PasswordAlgorithm::kSha256);
  const std::span<const stun::Key> candidates = by_sha256 ? sha256 : md5;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (!matches(request.message, candidates[i])) continue;
    request.signing_key = {candidates[i], chosen.has_value()};
    return i;
  }
  // An unknown user takes as long as a wrong password.
  stun::Key nobody;
  nobody.size = by_sha256 ? 32 : 16;
  if (candidates.empty()) static_cast<void>(matches(request.message, nobody));
  return std::nullopt;
}

bool Server::Impl::prove(Request& request, const UserKeys& keys) const {
  const auto which = find_signer(request, keys.md5, keys.sha256);
  if (!which) return false;
  // The other kind of key belongs to the same secret: it stands in the same place.
  request.user = {keys.username,
                  {keys.quota_name, request.realm},
                  *which < keys.md5.size() ? keys.md5[*which] : stun::Key{},
                  *which < keys.sha256.size() ? keys.sha256[*which] : stun::Key{}};
  return true;
}

bool Server::Impl::prove(Request& request, const Identity& owner) const {
  const auto known = [](const stun::Key& key) { return std::span(&key, key.size == 0 ? 0 : 1); };
  if (!find_signer(request, known(owner.md5), known(owner.sha256))) return false;
  request.user = owner;
  return true;
}

void Server::Impl::park(const Request& request) {
  const stun::Bytes bytes = request.message.bytes();
  const bool duplicate = std::any_of(parked_.begin(), parked_.end(), [&](const Parked& one) {
    return one.five_tuple == request.five_tuple &&
           std::equal(bytes.begin(), bytes.end(), one.bytes.begin(), one.bytes.end());
  });
  if (duplicate) return discard(request.token, Discard::kDuplicateParked);
  // No address holds more than half of what is left: one that asks for users who don't exist leaves
  // room for others, however many it asks for.
  const auto of_client = static_cast<std::size_t>(
      std::count_if(parked_.begin(), parked_.end(), [&](const Parked& one) {
        return one.five_tuple.client.address == request.five_tuple.client.address;
      }));
  if (parked_.size() + of_client >= config_.max_parked)
    return discard(request.token, Discard::kParkingFull);
  parked_.push_back({request.five_tuple,
                     {bytes.begin(), bytes.end()},
                     request.token,
                     request.realm,
                     request.now.ms + config_.parked_timeout_ms});
}

void Server::Impl::keys_arrived(Instant now, const UserName& user, RealmIndex realm,
                                const UserKeys* keys) {
  std::vector<Parked> ready;
  std::erase_if(parked_, [&](Parked& one) {
    if (one.realm != realm) return false;
    MessageView message;
    static_cast<void>(MessageView::parse(one.bytes, message));
    const UserName waits_for = name_in(message);
    if (waits_for.username != user.username || waits_for.userhash != user.userhash) return false;
    ready.push_back(std::move(one));
    return true;
  });
  for (const Parked& one : ready) {
    Request request{now, one.five_tuple, one.token, one.realm, {}, {}, {}};
    static_cast<void>(MessageView::parse(one.bytes, request.message));
    if (prove(request, keys != nullptr ? *keys : UserKeys{})) {
      dispatch(request, meant(request));
    } else {
      deny(request, keys != nullptr ? Unauthorized::kWrongKey : Unauthorized::kUnknownUser);
    }
  }
}

void Server::Impl::give_up_parked(Instant now) {
  std::erase_if(parked_, [&](const Parked& one) {
    if (one.deadline_ms > now.ms) return false;
    discard(one.token, Discard::kKeyTimeout);
    return true;
  });
}

}  // namespace turnpike
