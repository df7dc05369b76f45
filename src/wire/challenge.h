// What 401 and 438 carry so that a client can try again (RFC 8489 §9.2.4), and the check that
// nobody has weakened it on the way (§9.2.4, §16.1.1: bid-down). One place, because worker and
// server both send challenges and the list must be the same byte for byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "turnpike/integrity.h"
#include "turnpike/realm.h"
#include "turnpike/stun.h"

namespace turnpike::stun {

// The value of a realm's PASSWORD-ALGORITHMS, strongest first.
class AlgorithmList {
 public:
  explicit AlgorithmList(const Realm& realm);

  Bytes view() const { return {bytes_.data(), size_}; }
  bool contains(std::uint16_t algorithm) const;

 private:
  void append(PasswordAlgorithm algorithm);

  std::array<std::uint8_t, 8> bytes_{};
  std::size_t size_ = 0;
};

// REALM, NONCE and PASSWORD-ALGORITHMS.
void add_challenge(MessageWriter& writer, const Realm& realm, std::string_view nonce);

// The number in PASSWORD-ALGORITHM; nullopt if it is missing, malformed or has parameters, which no
// algorithm known here takes.
std::optional<std::uint16_t> password_algorithm(const MessageView& request);

// Whether the request's PASSWORD-ALGORITHM and PASSWORD-ALGORITHMS are both missing (a client of
// RFC 5389: MD5), or are ours and a choice from ours.
bool algorithms_untampered(const MessageView& request, const AlgorithmList& offered);

}  // namespace turnpike::stun
