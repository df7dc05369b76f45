// The stateless part of the server. Every path either answers from the request alone or admits it;
// nothing is remembered, so a flood costs its own packets and no more (docs/protocol.md 1, 9).
//
// Whoever forges a source has the answer sent there, so answers are small: SOFTWARE is left to the
// engine's, which go to those who have proved themselves, and a challenge is at most three times
// its request in IP bytes, if need be without a reason phrase (a SHOULD, RFC 8489 §14.8).
#include "turnpike/stateless_answers.h"

#include <algorithm>

#include "wire/challenge.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

// A 420 names every unknown attribute that a message can have.
constexpr std::size_t kUnknownMax = stun::kAttributesMax;
static_assert(stun::kHeaderSize + 4 + 4 + 20 + 4 + 2 * kUnknownMax + 8 <= kAnswerMax);

// Send, Data (RFC 8656 §17) and ConnectionAttempt (RFC 6062 §6.1) are never requests.
bool is_request_method(std::uint16_t raw_method) {
  const auto method = static_cast<Method>(raw_method);
  return stun::is_known_method(raw_method) && method != Method::kSend && method != Method::kData &&
         method != Method::kConnectionAttempt;
}

// RFC 8489 §9.2.4, second check; a value of an impossible size names nobody either.
// As far as a nonce can be judged; that exactly one name is given is the server's to see.
bool credentials_complete(const MessageView& request) {
  const bool named = request.text(Attribute::kUsername) || request.text(Attribute::kUserhash);
  return named && request.text(Attribute::kRealm) && request.text(Attribute::kNonce);
}

StatelessAnswer answer_of(std::uint16_t code) {
  switch (code) {
    case 400:
      return StatelessAnswer::k400;
    case 401:
      return StatelessAnswer::k401;
    case 420:
      return StatelessAnswer::k420;
    case 438:
      return StatelessAnswer::k438;
    default:
      return StatelessAnswer::kNone;
  }
}

// The end that all answers share.
StatelessResult close(MessageWriter& writer, const MessageView& request, StatelessAnswer answer,
                      bool to_stranger) {
  if (request.has_fingerprint()) writer.add_fingerprint();
  const std::size_t size = writer.finish().size();
  if (size == 0) return {.verdict = StatelessVerdict::kTooLong, .to_stranger = to_stranger};
  return {.verdict = StatelessVerdict::kAnswered,
          .answer = answer,
          .size = size,
          .to_stranger = to_stranger};
}

// A cause is short: with it the answer is still smaller than a challenge.
StatelessResult refuse(const MessageView& request, std::uint16_t code, std::string_view cause,
                       bool to_stranger, std::span<std::uint8_t> out) {
  MessageWriter writer(out, Class::kError, request.method(), request.transaction_id());
  writer.add_error_code(code, cause);
  return close(writer, request, answer_of(code), to_stranger);
}

constexpr std::size_t kAmplificationMax = 3;
constexpr std::size_t kPasswordAlgorithmsSize = 4 + 8;
constexpr std::size_t kFingerprintSize = 8;

constexpr std::size_t attribute_size(std::size_t value_size) {
  return 4 + (value_size + 3) / 4 * 4;
}

// Of the headers around a STUN message.
constexpr std::size_t ip_udp_size(Family family) {
  return (family == Family::kIpv4 ? 20 : 40) + 8;
}

// RFC 5780 §6: what a listener with discovery knows beyond others isn't unknown there.
std::size_t unknown_to(const Listener& listener, const MessageView& request,
                       std::span<std::uint16_t> out) {
  const std::size_t count = stun::unknown_attributes(request, out);
  if (!listener.discovery) return count;
  const auto end = std::remove_if(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count),
                                  stun::is_of_nat_discovery);
  return static_cast<std::size_t>(end - out.begin());
}

// What a Binding asks of a listener with discovery.
struct DiscoveryRequest {
  AnswerWay way;
  bool asks = false;  // has an attribute of RFC 5780's
  bool padded = false;
  bool malformed = false;  // or has RESPONSE-PORT beside PADDING (RFC 5780 §7.5)
};

DiscoveryRequest read_discovery(const MessageView& request) {
  DiscoveryRequest read;
  if (!request.has_unknown()) return read;
  if (request.has(Attribute::kChangeRequest)) {
    const auto flags = request.u32(Attribute::kChangeRequest);
    read.way.origin = origin_of(flags.value_or(0));
    read.malformed |= !flags;
    read.asks = true;
  }
  read.padded = request.has(Attribute::kPadding);
  if (request.has(Attribute::kResponsePort)) {
    read.way.to_port = request.response_port().value_or(0);
    read.malformed |= read.way.to_port == 0 || read.padded;
    read.asks = true;
  }
  read.asks |= read.padded;
  return read;
}

// As far as three times the request goes, and the room.
void add_padding(MessageWriter& writer, const MessageView& request, Family family,
                 std::size_t room) {
  const std::size_t around = ip_udp_size(family);
  const std::size_t allowed =
      std::min(kAmplificationMax * (around + request.bytes().size()) - around, room);
  const std::size_t used = writer.size() + 4 + (request.has_fingerprint() ? kFingerprintSize : 0);
  static constexpr std::array<std::uint8_t, kPaddingMost> kZeros{};
  const std::size_t left = allowed > used ? (allowed - used) / 4 * 4 : 0;
  writer.add(Attribute::kPadding, std::span(kZeros).first(std::min(left, kZeros.size())));
}

StatelessResult answer_binding(const MessageView& request, const Endpoint& client,
                               const Listener& listener, std::span<std::uint8_t> room) {
  const std::span<std::uint8_t> out = room.first(std::min(room.size(), kAnswerMax));
  std::array<std::uint16_t, kUnknownMax> unknown;
  const std::size_t count = unknown_to(listener, request, unknown);
  if (count != 0) {
    MessageWriter writer(out, Class::kError, request.method(), request.transaction_id());
    writer.add_error_code(420);
    writer.add_unknown_attributes(std::span(unknown).first(count));
    return close(writer, request, StatelessAnswer::k420, true);
  }
  if (!listener.discovery) {
    const std::size_t size = StatelessAnswers::answer_briefly(request, client, out);
    return {.verdict = StatelessVerdict::kAnswered,
            .answer = StatelessAnswer::kBindingSuccess,
            .size = size};
  }
  const DiscoveryRequest asked = read_discovery(request);
  if (asked.malformed) return refuse(request, 400, stun::reason_phrase(400), true, out);
  const NatDiscovery& discovery = *listener.discovery;
  MessageWriter writer(asked.padded ? room : out, Class::kSuccess, request.method(),
                       request.transaction_id());
  writer.add_xor_address(Attribute::kXorMappedAddress, client);
  writer.add_address(Attribute::kMappedAddress, client);
  writer.add_address(Attribute::kResponseOrigin, discovery.origins[asked.way.origin].external);
  writer.add_address(Attribute::kOtherAddress, discovery.origins[kChangeBoth].external);
  if (asked.padded) add_padding(writer, request, client.address.family, room.size());
  StatelessResult result = close(writer, request, StatelessAnswer::kBindingSuccess, true);
  result.way = asked.way;
  result.padded = asked.padded;
  result.rationed = asked.padded || asked.way.to_port != 0;
  result.may_be_brief = !asked.asks;
  return result;
}

StatelessResult challenge(std::uint16_t code, const MessageView& request, Family family,
                          const Realm& realm, std::string_view nonce, std::span<std::uint8_t> out) {
  const std::string_view reason = stun::reason_phrase(code);
  const std::size_t around = ip_udp_size(family);
  const std::size_t allowed =
      std::min(kAmplificationMax * (around + request.bytes().size()) - around, kAnswerMax);
  const std::size_t bare = StatelessAnswers::challenge_size(realm.name.size()) -
                           (request.has_fingerprint() ? 0 : kFingerprintSize);
  const bool fits = bare + attribute_size(reason.size()) - 4 <= allowed;
  MessageWriter writer(out, Class::kError, request.method(), request.transaction_id());
  writer.add_error_code(code, fits ? reason : std::string_view());
  stun::add_challenge(writer, realm, nonce);
  return close(writer, request, answer_of(code), true);
}

}  // namespace

std::size_t StatelessAnswers::challenge_size(std::size_t realm_size) {
  return stun::kHeaderSize + attribute_size(4) + attribute_size(realm_size) +
         attribute_size(NonceKeeper::kSize) + kPasswordAlgorithmsSize + kFingerprintSize;
}

std::size_t StatelessAnswers::answer_briefly(const MessageView& request, const Endpoint& client,
                                             std::span<std::uint8_t> out) {
  MessageWriter writer(out, Class::kSuccess, request.method(), request.transaction_id());
  writer.add_xor_address(Attribute::kXorMappedAddress, client);
  return close(writer, request, StatelessAnswer::kBindingSuccess, false).size;
}

StatelessResult StatelessAnswers::answer(Instant now, const MessageView& request,
                                         const Endpoint& client, const Listener& listener,
                                         bool known, std::span<std::uint8_t> room) const {
  const std::span<std::uint8_t> out = room.first(std::min(room.size(), kAnswerMax));
  const std::uint16_t raw_method = request.raw_method();
  const bool binding = request.method() == Method::kBinding;
  if (!is_request_method(raw_method) || (binding ? listener.turn_only : listener.stun_only)) {
    return {};
  }
  if (request.message_class() == Class::kIndication && binding) {
    return {.verdict = StatelessVerdict::kIgnoreIndication};
  }
  if (request.message_class() != Class::kRequest) return {};
  if (binding) return answer_binding(request, client, listener, room);

  const Endpoint& server = listener.endpoint;
  const Realm& realm = config_.realms[listener.realm];
  std::array<char, NonceKeeper::kMaxSize> fresh;
  const auto challenge_with = [&](std::uint16_t code) {
    const std::size_t size = nonces_.mint(now, realm, client, server, fresh);
    return challenge(code, request, client.address.family, realm,
                     std::string_view(fresh.data(), size), out);
  };
  if (!request.has(Attribute::kMessageIntegrity) &&
      !request.has(Attribute::kMessageIntegritySha256)) {
    return challenge_with(401);
  }
  if (!credentials_complete(request))
    return refuse(request, 400, "Credentials Incomplete", true, out);

  // Before the user and the integrity, against §9.2.4's order: see docs/protocol.md 9. A nonce that
  // came with another algorithm list ends here too, with the new list, and not at the bid-down
  // check's 400 (docs/protocol.md 6).
  const NonceState state =
      nonces_.check(now, realm, client, server, *request.text(Attribute::kNonce));
  const bool may_be_retransmission = state == NonceState::kStale && known;
  if (state != NonceState::kValid && !may_be_retransmission) return challenge_with(438);

  // §9.2.4, third check. The nonce is ours, so its cookie's bit is ours as well.
  const stun::AlgorithmList offered(realm);
  if (realm.password_algorithms && !stun::algorithms_untampered(request, offered)) {
    return refuse(request, 400, "Password Algorithms Altered", false, out);
  }
  return {.verdict = StatelessVerdict::kAdmit};
}

}  // namespace turnpike
