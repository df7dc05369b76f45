// A shard's part of an array of entries: which slots are free, live, or withdrawn and waiting for
// their grace period. Single-threaded; its memory is taken at construction.
//
// Withdrawn slots go back in batches: one Qsbr token covers all that was withdrawn before it, so a
// mass withdrawal costs one token, and no slot needs to remember its own.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/qsbr.h"

namespace turnpike::flow {

class SlotPool {
 public:
  // Slots first … first + count - 1.
  SlotPool(std::uint32_t first, std::uint32_t count)
      : first_(first), free_(count), retired_(count), live_(count) {
    for (std::uint32_t i = 0; i < count; ++i)
      free_[i] = first + count - 1 - i;
  }

  // Last in, first out: live entries stay close together, which spares the TLB.
  std::optional<std::uint32_t> take() {
    if (free_.empty()) return std::nullopt;
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    live_[slot - first_] = true;
    return slot;
  }

  // After the last way to the entry has been unlinked.
  void retire(std::uint32_t slot) {
    assert(is_live(slot));
    live_[slot - first_] = false;
    retired_[(oldest_ + retired_count_) % retired_.size()] = slot;
    ++retired_count_;
  }

  // Gives back at most `most` slots whose grace period has passed.
  void reclaim(Qsbr& qsbr, std::size_t most) {
    if (batch_ == 0) {
      if (retired_count_ == 0) return;
      token_ = qsbr.start();
      batch_ = retired_count_;
    }
    if (!qsbr.passed(token_)) return;
    for (; batch_ > 0 && most > 0; --batch_, --most) {
      free_.push_back(retired_[oldest_]);
      oldest_ = (oldest_ + 1) % retired_.size();
      --retired_count_;
    }
  }

  bool is_live(std::uint32_t slot) const {
    return slot >= first_ && slot - first_ < live_.size() && live_[slot - first_];
  }
  std::uint32_t first() const { return first_; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(live_.size()); }
  std::uint32_t retired() const { return static_cast<std::uint32_t>(retired_count_); }

 private:
  std::uint32_t first_;
  std::vector<std::uint32_t> free_;     // a stack; its capacity never grows
  std::vector<std::uint32_t> retired_;  // a ring
  std::size_t oldest_ = 0;
  std::size_t retired_count_ = 0;
  std::size_t batch_ = 0;  // of retired_, from the oldest: those that wait for token_
  Qsbr::Token token_ = 0;
  std::vector<bool> live_;
};

}  // namespace turnpike::flow
