// A node of the trie either leads on by some bits of the address or names the two ranges that may
// hold it, which are compared whole: so bits that were passed over need not be looked at on the
// way, and a range too many does no harm.
#include "policy/prefix_set.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "wire/headers.h"

namespace turnpike::policy {
namespace {

__extension__ using Word128 = unsigned __int128;

unsigned bit_width(std::uint32_t word) {
  return static_cast<unsigned>(std::bit_width(word));
}
unsigned bit_width(Word128 word) {
  const auto high = static_cast<std::uint64_t>(word >> 64);
  return static_cast<unsigned>(high != 0 ? 64 + std::bit_width(high)
                                         : std::bit_width(static_cast<std::uint64_t>(word)));
}

// The address as a number, of whose family Word is.
template <typename Word>
Word word_of(const Address& address);
template <>
std::uint32_t word_of(const Address& address) {
  return wire::load_be32(address.bytes.data());
}
template <>
Word128 word_of(const Address& address) {
  return Word128{wire::load_be64(address.bytes.data())} << 64 |
         wire::load_be64(address.bytes.data() + 8);
}

template <typename Word>
struct Range {
  Word first, last;
};

template <typename Word>
Range<Word> range_of(const Prefix& prefix) {
  constexpr unsigned kWidth = 8 * sizeof(Word);
  const Word rest = prefix.length < kWidth ? static_cast<Word>(~Word{0}) >> prefix.length : Word{0};
  const Word word = word_of<Word>(prefix.address);
  return {static_cast<Word>(word & ~rest), static_cast<Word>(word | rest)};
}

// Sorted, and none overlaps or touches another.
template <typename Word>
std::vector<Range<Word>> merged(std::span<const Prefix> prefixes, Family family) {
  std::vector<Range<Word>> ranges;
  for (const Prefix& prefix : prefixes) {
    if (prefix.address.family == family) ranges.push_back(range_of<Word>(prefix));
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range<Word>& a, const Range<Word>& b) { return a.first < b.first; });
  std::size_t kept = 0;
  for (const Range<Word>& range : ranges) {
    const bool joins = kept != 0 && (range.first <= ranges[kept - 1].last ||
                                     range.first - 1 == ranges[kept - 1].last);
    if (joins) {
      ranges[kept - 1].last = std::max(ranges[kept - 1].last, range.last);
    } else {
      ranges[kept++] = range;
    }
  }
  ranges.resize(kept);
  ranges.shrink_to_fit();
  return ranges;
}

template <typename Word>
class Trie {
 public:
  explicit Trie(std::vector<Range<Word>> ranges) : ranges_(std::move(ranges)), nodes_(1) {
    grow(0, 0, ranges_.size(), 0, static_cast<Word>(~Word{0}));
    nodes_.shrink_to_fit();
    // So that there are as many behind each place. They hold nothing.
    ranges_.insert(ranges_.end(), kLeafMax, {1, 0});
  }

  bool contains(Word key) const {
    Node node = nodes_[0];
    while (node.bits != 0)
      node = nodes_[node.from + (static_cast<std::uint32_t>(key >> node.shift) &
                                 ((std::uint32_t{1} << node.bits) - 1))];
    const Range<Word>* range = &ranges_[node.from];
    // All are compared: a branch would be taken or not as if by chance.
    const auto holds = [key](const Range<Word>& one) {
      return static_cast<unsigned>(key >= one.first) & static_cast<unsigned>(key <= one.last);
    };
    static_assert(kLeafMax == 2);
    return (holds(range[0]) | holds(range[1])) != 0;
  }

  std::size_t ranges() const { return ranges_.size() - kLeafMax; }
  std::size_t bytes() const {
    return ranges_.size() * sizeof(Range<Word>) + nodes_.size() * sizeof(Node);
  }

 private:
  static constexpr std::size_t kLeafMax = 2;
  static constexpr unsigned kBitsMax = 20;

  struct Node {
    std::uint32_t from = 0;  // its first child, or range
    std::uint8_t shift = 0;  // of the bits that choose among 2^bits children
    std::uint8_t bits = 0;   // 0: a leaf
  };
  static_assert(sizeof(Node) == 8);

  // Makes the node at `place` for addresses from `low` to `high`, which are a whole block and meet
  // the ranges from `begin` to `end`. Each step down takes at least a bit, so none is endless.
  void grow(std::size_t place, std::size_t begin, std::size_t end, Word low, Word high) {
    const std::size_t count = end - begin;
    if (count <= kLeafMax) {
      nodes_[place].from = static_cast<std::uint32_t>(begin);
      return;
    }
    const Word first = std::max(low, ranges_[begin].first);
    const Word last = std::min(high, ranges_[end - 1].last);
    const unsigned differing = bit_width(static_cast<Word>(first ^ last));
    const unsigned bits =
        std::min({differing, kBitsMax, static_cast<unsigned>(std::bit_width(count))});
    const unsigned shift = differing - bits;
    const std::size_t children = nodes_.size();
    nodes_.resize(children + (std::size_t{1} << bits));
    nodes_[place] = {static_cast<std::uint32_t>(children), static_cast<std::uint8_t>(shift),
                     static_cast<std::uint8_t>(bits)};
    const Word below = static_cast<Word>(static_cast<Word>(Word{1} << shift) - 1);
    const Word chooses = static_cast<Word>(((Word{1} << bits) - 1) << shift);
    const Word common = static_cast<Word>(first & ~chooses & ~below);
    for (std::size_t child = 0; child < std::size_t{1} << bits; ++child) {
      const Word child_low = static_cast<Word>(common | static_cast<Word>(child) << shift);
      const Word child_high = static_cast<Word>(child_low | below);
      while (begin != end && ranges_[begin].last < child_low)
        ++begin;
      std::size_t until = begin;
      while (until != end && ranges_[until].first <= child_high)
        ++until;
      grow(children + child, begin, until, child_low, child_high);
    }
  }

  std::vector<Range<Word>> ranges_;
  std::vector<Node> nodes_;
};

}  // namespace

struct PrefixSet::Contents {
  Trie<std::uint32_t> v4;
  Trie<Word128> v6;
};

PrefixSet::PrefixSet(std::span<const Prefix> prefixes) {
  if (prefixes.empty()) return;
  contents_ = std::make_shared<const Contents>(
      Contents{Trie(merged<std::uint32_t>(prefixes, Family::kIpv4)),
               Trie(merged<Word128>(prefixes, Family::kIpv6))});
}

bool PrefixSet::contains(const Address& address) const {
  if (contents_ == nullptr) return false;
  return address.family == Family::kIpv4 ? contents_->v4.contains(word_of<std::uint32_t>(address))
                                         : contents_->v6.contains(word_of<Word128>(address));
}

std::size_t PrefixSet::ranges() const {
  return contents_ == nullptr ? 0 : contents_->v4.ranges() + contents_->v6.ranges();
}

std::size_t PrefixSet::bytes() const {
  return contents_ == nullptr ? 0 : contents_->v4.bytes() + contents_->v6.bytes();
}

}  // namespace turnpike::policy
