// A histogram of latencies with a bounded relative error (after HdrHistogram): 128 buckets for each
// power of two, so a value read back is at most 0.8 % above the one recorded. 38 KiB, no
// allocation while recording; one writer.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace turnpike::pktgen {

class Histogram {
 public:
  // What is longer counts as this: 18 minutes in nanoseconds.
  static constexpr std::uint64_t kMost = (std::uint64_t{1} << 40) - 1;

  void record(std::uint64_t value) {
    value = std::min(value, kMost);
    ++buckets_[index_of(value)];
    ++count_;
    sum_ += value;
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
  }

  std::uint64_t count() const { return count_; }
  std::uint64_t max() const { return max_; }
  std::uint64_t min() const { return count_ == 0 ? 0 : min_; }
  double mean() const {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
  }

  // The least value that `percent` of the recorded ones don't exceed, rounded up to the end of its
  // bucket but never beyond max(); 0 while nothing was recorded.
  std::uint64_t percentile(double percent) const {
    if (count_ == 0) return 0;
    const double share = std::clamp(percent, 0.0, 100.0) / 100.0 * static_cast<double>(count_);
    auto wanted = static_cast<std::uint64_t>(share);
    if (static_cast<double>(wanted) < share) ++wanted;
    wanted = std::max<std::uint64_t>(wanted, 1);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen >= wanted) return std::min(last_of(i), max_);
    }
    return max_;
  }

  void add(const Histogram& other) {
    for (std::size_t i = 0; i < buckets_.size(); ++i)
      buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    min_ = std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
  }

 private:
  static constexpr unsigned kBits = 7;
  static constexpr std::size_t kPerPower = std::size_t{1} << kBits;

  // Values below 256 have a bucket each; above, a power of two and the seven bits after its leading
  // one.
  static std::size_t index_of(std::uint64_t value) {
    const auto width = static_cast<unsigned>(std::bit_width(value));
    if (width <= kBits + 1) return value;
    const unsigned shift = width - (kBits + 1);
    return (std::size_t{shift} << kBits) + (value >> shift);
  }
  static std::uint64_t last_of(std::size_t index) {
    if (index < 2 * kPerPower) return index;
    const std::size_t shift = (index >> kBits) - 1;
    const std::uint64_t leading = kPerPower + (index & (kPerPower - 1));
    return ((leading + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (40 - kBits + 1) * kPerPower> buckets_{};
  std::uint64_t count_ = 0, sum_ = 0, min_ = ~std::uint64_t{0}, max_ = 0;
};

}  // namespace turnpike::pktgen
