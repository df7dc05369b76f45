// Challenges: the algorithm list and its way back (RFC 8489 §9.2.4, §14.11, §14.12).
#include "wire/challenge.h"

#include <algorithm>

#include "wire/headers.h"

namespace turnpike::stun {

AlgorithmList::AlgorithmList(const Realm& realm) {
  if (realm.sha256_offered) append(PasswordAlgorithm::kSha256);
  if (realm.md5_offered) append(PasswordAlgorithm::kMd5);
}

// Two bytes of number, two of the length of its parameters: zero for both (§18.5).
void AlgorithmList::append(PasswordAlgorithm algorithm) {
  wire::store_be16(bytes_.data() + size_, static_cast<std::uint16_t>(algorithm));
  size_ += 4;
}

bool AlgorithmList::contains(std::uint16_t algorithm) const {
  for (std::size_t at = 0; at < size_; at += 4) {
    if (wire::load_be16(bytes_.data() + at) == algorithm) return true;
  }
  return false;
}

void add_challenge(MessageWriter& writer, const Realm& realm, std::string_view nonce) {
  writer.add_text(Attribute::kRealm, realm.name);
  writer.add_text(Attribute::kNonce, nonce);
  writer.add(Attribute::kPasswordAlgorithms, AlgorithmList(realm).view());
}

std::optional<std::uint16_t> password_algorithm(const MessageView& request) {
  const auto value = request.u32(Attribute::kPasswordAlgorithm);
  if (!value || (*value & 0xFFFF) != 0) return std::nullopt;
  return static_cast<std::uint16_t>(*value >> 16);
}

bool algorithms_untampered(const MessageView& request, const AlgorithmList& offered) {
  const auto list = request.find(Attribute::kPasswordAlgorithms);
  if (!list && !request.has(Attribute::kPasswordAlgorithm)) return true;
  const auto chosen = password_algorithm(request);
  if (!list || !chosen || !offered.contains(*chosen)) return false;
  const Bytes ours = offered.view();
  return std::equal(ours.begin(), ours.end(), list->value.begin(), list->value.end());
}

}  // namespace turnpike::stun
