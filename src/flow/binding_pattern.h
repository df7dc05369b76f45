// What StatelessAnswers gives to a Binding request without attributes, over IPv4: the same to all
// but for transaction and client. Part of the policy that those answers are of, so that it is never
// another's.
#pragma once

#include <cstdint>
#include <vector>

#include "turnpike/stateless_answers.h"
#include "turnpike/stun.h"

namespace turnpike::flow {

struct BindingPattern {
  static constexpr std::size_t kMappedPort = stun::kHeaderSize + 6;  // within XOR-MAPPED-ADDRESS
  static constexpr std::size_t kMappedAddress = kMappedPort + 2;

  explicit BindingPattern(const StatelessAnswers& stateless);

  // All zeros where transaction and client come. The same at all listeners that answer it.
  std::vector<std::uint8_t> bytes;
  std::uint64_t sum = 0;  // of the bytes as words, the machine's (conversion.h)
};

}  // namespace turnpike::flow
