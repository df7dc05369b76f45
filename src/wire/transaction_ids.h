// Transaction ids for the messages that a worker starts by itself: indications. RFC 8489 §5 wants
// them uniform and cryptographically random. They are the key stream of ChaCha with 8 rounds (the
// best attack known reaches 7) under a secret of the start, so that who has seen any number of them
// can't tell the next. No state is shared: each worker has a stream of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "turnpike/stun.h"

namespace turnpike {

class TransactionIds {
 public:
  using Key = std::array<std::uint32_t, 8>;

  // No two generators of one key may have the same stream.
  TransactionIds(const Key& key, std::uint64_t stream) : key_(key), stream_(stream) {}

  void next(std::uint8_t* out) {
    if (used_ == kIds) refill();
    std::memcpy(out, block_.data() + used_++ * kIdWords, sizeof(stun::TransactionId));
  }
  stun::TransactionId next() {
    stun::TransactionId id;
    next(id.data());
    return id;
  }

 private:
  static constexpr std::size_t kIdWords = 3;
  static constexpr std::size_t kWords = 16;  // of a block
  static constexpr std::size_t kIds = kWords / kIdWords;

  void refill();

  std::array<std::uint32_t, kWords> block_{};
  std::size_t used_ = kIds;
  std::uint64_t blocks_ = 0;
  Key key_;
  std::uint64_t stream_;
};

}  // namespace turnpike
