// Which addresses lie in any of very many prefixes: blocklists have hundreds of thousands, and the
// answer must not cost more for it.
//
// Only whether an address is inside is asked, never by which prefix, so prefixes that overlap or
// touch become one range, and ranges are disjoint and sorted. Over them lies a trie that reads as
// many bits at once as there are ranges to tell apart, and passes over bits that are the same in
// all of them: a few look-ups, whether in 32 bits or in 128, of which lists use but a corner.
// DPDK's rte_fib and rte_fib6 answer no faster, for a hundred times the memory (bench/micro).
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "turnpike/address.h"

namespace turnpike::policy {

// Immutable: any thread may read it, and copies share what is inside.
class PrefixSet {
 public:
  PrefixSet() = default;
  // In any order; twice the same, and one within another, are no matter.
  explicit PrefixSet(std::span<const Prefix> prefixes);

  bool empty() const { return contents_ == nullptr; }
  // Reads a few cache lines, however many prefixes there are.
  bool contains(const Address& address) const;

  std::size_t ranges() const;  // that are left of the prefixes
  std::size_t bytes() const;   // that it holds in memory

 private:
  struct Contents;

  std::shared_ptr<const Contents> contents_;  // none: no prefix
};

}  // namespace turnpike::policy
