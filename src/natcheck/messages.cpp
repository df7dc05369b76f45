// The attributes of RFC 5780 §7 are written and read here; all else is the STUN codec's.
#include "natcheck/messages.h"

#include <openssl/rand.h>

#include <stdexcept>

#include "wire/headers.h"

namespace turnpike::natcheck {
namespace {

constexpr auto kChangeRequest = static_cast<stun::Attribute>(0x0003);
constexpr auto kPadding = static_cast<stun::Attribute>(0x0026);
constexpr auto kResponsePort = static_cast<stun::Attribute>(0x0027);
constexpr std::uint16_t kOtherAddress = 0x802C;
constexpr std::size_t kRoom = 256;

// OTHER-ADDRESS has MAPPED-ADDRESS's form (§7.1).
std::optional<Endpoint> endpoint_of(stun::Bytes value) {
  if (value.size() < 8) return std::nullopt;
  const auto family = static_cast<Family>(value[1]);
  const std::size_t size = family == Family::kIpv4 ? 8 : 20;
  if ((family != Family::kIpv4 && family != Family::kIpv6) || value.size() != size)
    return std::nullopt;
  return Endpoint{Address::from_bytes(family, value.data() + 4), wire::load_be16(value.data() + 2)};
}

}  // namespace

stun::TransactionId fresh_id() {
  stun::TransactionId id;
  if (RAND_bytes(id.data(), static_cast<int>(id.size())) != 1)
    throw std::runtime_error("OpenSSL has no random bytes");
  return id;
}

std::vector<std::uint8_t> binding_request(const stun::TransactionId& id,
                                          const BindingOptions& options) {
  std::vector<std::uint8_t> room(kRoom + options.padding);
  stun::MessageWriter writer(room, stun::Class::kRequest, stun::Method::kBinding, id);
  if (options.change != 0) writer.add_u32(kChangeRequest, options.change);
  if (options.response_port != 0)
    writer.add_u32(kResponsePort, std::uint32_t{options.response_port} << 16);
  if (options.padding != 0) writer.add(kPadding, std::vector<std::uint8_t>(options.padding));
  const auto message = writer.finish();
  return {message.begin(), message.end()};
}

std::optional<BindingAnswer> read_answer(stun::Bytes bytes, const stun::TransactionId& id) {
  stun::MessageView view;
  if (stun::MessageView::parse(bytes, view) != stun::ParseError::kNone ||
      view.method() != stun::Method::kBinding || view.transaction_id() != id)
    return std::nullopt;
  BindingAnswer answer;
  answer.size = bytes.size();
  if (const auto software = view.text(stun::Attribute::kSoftware))
    answer.software = printable(*software);
  if (view.message_class() == stun::Class::kError) {
    answer.error = view.error_code().value_or(500);
    return answer;
  }
  if (view.message_class() != stun::Class::kSuccess) return std::nullopt;
  answer.in_clear = view.address(stun::Attribute::kMappedAddress);
  answer.mapped = view.xor_address(stun::Attribute::kXorMappedAddress);
  if (!answer.mapped) answer.mapped = answer.in_clear;
  view.for_each([&](const stun::AttributeView& attribute) {
    if (attribute.type == kOtherAddress && !answer.other)
      answer.other = endpoint_of(attribute.value);
    return true;
  });
  return answer;
}

bool is_request(stun::Bytes bytes, const stun::TransactionId& id) {
  stun::MessageView view;
  return stun::MessageView::parse(bytes, view) == stun::ParseError::kNone &&
         view.message_class() == stun::Class::kRequest && view.transaction_id() == id;
}

std::string printable(std::string_view text) {
  std::string clean;
  for (const char c : text)
    clean += c >= ' ' && c <= '~' ? c : '?';
  return clean;
}

}  // namespace turnpike::natcheck
