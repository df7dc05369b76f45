// The attributes of RFC 5780 §7 are written and read here; all else is the STUN codec's.
#include "natcheck/messages.h"

#include <openssl/rand.h>

#include <stdexcept>

namespace turnpike::natcheck {
namespace {

constexpr std::size_t kRoom = 256;

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
  if (options.change != 0) writer.add_u32(stun::Attribute::kChangeRequest, options.change);
  if (options.response_port != 0)
    writer.add_u32(stun::Attribute::kResponsePort, std::uint32_t{options.response_port} << 16);
  if (options.padding != 0)
    writer.add(stun::Attribute::kPadding, std::vector<std::uint8_t>(options.padding));
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
  answer.other = view.address(stun::Attribute::kOtherAddress);
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
