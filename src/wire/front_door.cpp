// The stateless part of the server. Every path either answers from the request alone or admits it;
// nothing is remembered, so a flood costs its own packets and no more (PROTOCOL.md 1, 9).
#include "wire/front_door.h"

#include "wire/challenge.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

// How many unknown attributes a 420 names: as many as leave room for everything else.
constexpr std::size_t kUnknownMax = 16;

// Send and Data are never requests (RFC 8656 §17).
bool is_request_method(std::uint16_t raw_method) {
  const auto method = static_cast<Method>(raw_method);
  return stun::is_known_method(raw_method) && method != Method::kSend && method != Method::kData;
}

// RFC 8489 §9.2.4, second check; a value of an impossible size names nobody either.
bool credentials_complete(const MessageView& request) {
  const bool named = request.text(Attribute::kUsername) || request.text(Attribute::kUserhash);
  return named && request.text(Attribute::kRealm) && request.text(Attribute::kNonce);
}

DoorAnswer answer_of(std::uint16_t code) {
  switch (code) {
    case 400:
      return DoorAnswer::k400;
    case 401:
      return DoorAnswer::k401;
    case 420:
      return DoorAnswer::k420;
    case 438:
      return DoorAnswer::k438;
    default:
      return DoorAnswer::kNone;
  }
}

// The end that all answers share.
DoorResult close(MessageWriter& writer, const MessageView& request, std::string_view software,
                 DoorAnswer answer) {
  if (!software.empty()) writer.add_text(Attribute::kSoftware, software);
  if (request.has_fingerprint()) writer.add_fingerprint();
  const std::size_t size = writer.finish().size();
  if (size == 0) return {};  // does not fit: a configuration with a giant realm; say nothing
  return {Door::kAnswered, answer, size};
}

DoorResult refuse(const MessageView& request, std::uint16_t code, std::string_view software,
                  std::span<std::uint8_t> out) {
  MessageWriter writer(out, Class::kError, request.method(), request.transaction_id());
  writer.add_error_code(code);
  return close(writer, request, software, answer_of(code));
}

DoorResult answer_binding(const MessageView& request, const Endpoint& client,
                          std::string_view software, std::span<std::uint8_t> out) {
  std::array<std::uint16_t, kUnknownMax> unknown;
  const std::size_t count = stun::unknown_attributes(request, unknown);
  if (count != 0) {
    MessageWriter writer(out, Class::kError, request.method(), request.transaction_id());
    writer.add_error_code(420);
    writer.add_unknown_attributes(std::span(unknown).first(count));
    return close(writer, request, software, DoorAnswer::k420);
  }
  MessageWriter writer(out, Class::kSuccess, request.method(), request.transaction_id());
  writer.add_xor_address(Attribute::kXorMappedAddress, client);
  return close(writer, request, software, DoorAnswer::kBindingSuccess);
}

DoorResult challenge(std::uint16_t code, const MessageView& request,
                     const FrontDoor::Config& config, std::string_view nonce,
                     std::span<std::uint8_t> out) {
  MessageWriter writer(out, Class::kError, request.method(), request.transaction_id());
  writer.add_error_code(code);
  stun::add_challenge(writer, config.realm, nonce, config.sha256_offered, config.md5_offered);
  return close(writer, request, config.software, answer_of(code));
}

}  // namespace

DoorResult FrontDoor::answer(Instant now, const MessageView& request, const Endpoint& client,
                             const Endpoint& server, bool known,
                             std::span<std::uint8_t> out) const {
  const std::uint16_t raw_method = request.raw_method();
  const bool binding = request.method() == Method::kBinding;
  if (!is_request_method(raw_method) || (binding ? config_.turn_only : config_.stun_only)) {
    return {};
  }
  if (request.message_class() == Class::kIndication && binding) {
    return {Door::kIgnoreIndication, DoorAnswer::kNone, 0};
  }
  if (request.message_class() != Class::kRequest) return {};
  if (binding) return answer_binding(request, client, config_.software, out);

  std::array<char, NonceKeeper::kMaxSize> fresh;
  const auto challenge_with = [&](std::uint16_t code) {
    const std::size_t size = nonces_.mint(now, client, server, fresh);
    return challenge(code, request, config_, std::string_view(fresh.data(), size), out);
  };
  if (!request.has(Attribute::kMessageIntegrity) &&
      !request.has(Attribute::kMessageIntegritySha256)) {
    return challenge_with(401);
  }
  if (!credentials_complete(request)) return refuse(request, 400, config_.software, out);

  // Before the user and the integrity, against §9.2.4's order: see PROTOCOL.md 9. An old generation
  // ends here too, with the new list, and not at the bid-down check's 400 (PROTOCOL.md 6).
  const NonceState state = nonces_.check(now, client, server, *request.text(Attribute::kNonce));
  const bool may_be_retransmission = state == NonceState::kStale && known;
  if (state != NonceState::kValid && !may_be_retransmission) return challenge_with(438);

  // §9.2.4, third check. The nonce is ours, so its cookie's bit is ours as well.
  const stun::AlgorithmList offered(config_.sha256_offered, config_.md5_offered);
  if (nonces_.config().password_algorithms && !stun::algorithms_untampered(request, offered)) {
    return refuse(request, 400, config_.software, out);
  }
  return {Door::kAdmit, DoorAnswer::kNone, 0};
}

}  // namespace turnpike
