// What payload rules have found of a flow, in one word of its permission's or channel's entry: each
// direction has a half of it. Until so many packets have been looked into, a half counts them; then
// it holds the verdict, for as long as the rules are the same.
//
// From the client, the first packet that a rule wants dropped, limited or ended decides. From a
// peer, who may be forged, one packet decides nothing: it is dropped by itself, and only where all
// of the first packets (of at least two) are unwelcome does what follows share their lot. So it is
// with what no rule knows, from either side. What a peer sends never touches the client's half.
#pragma once

#include <algorithm>
#include <cstdint>

#include "policy/payload_rules.h"

namespace turnpike::flow {

// What becomes of a packet.
enum class Lot : std::uint8_t { kPass, kDrop, kLimit, kEnd };

// One direction's half, as a value: the rules' epoch, a rule, and how far it is.
class Finding {
 public:
  // Of rules of `epoch`: what other rules have found counts for nothing.
  Finding(std::uint32_t half, std::uint16_t epoch)
      : half_(half >> 16 == epoch ? half : std::uint32_t{epoch} << 16) {}

  // That of nearly all packets, for a look at the whole half.
  static constexpr std::uint32_t plain_pass(std::uint16_t epoch) {
    return std::uint32_t{epoch} << 16 | kPass;
  }

  std::uint32_t half() const { return half_; }
  bool is_open() const { return state() < kPass; }  // more packets are to be looked into
  policy::RuleNumber rule() const {
    return static_cast<policy::RuleNumber>(half_ >> kStateBits & kRuleMask);
  }
  // The rule's end of the allocation is on its way.
  void settle_end() { set(kPass + static_cast<std::uint32_t>(Lot::kDrop), rule()); }
  // What becomes of packets, once it isn't open any more.
  Lot lot() const { return static_cast<Lot>(state() - kPass); }

  struct Seen {
    policy::RuleNumber rule = 0;  // that matched; 0: none
    policy::RuleAction action = policy::RuleAction::kAllow;
    bool decides = false;      // alone, if it is unwelcome
    std::uint8_t scanned = 1;  // how many are looked into
  };
  // Looks at one more packet, and says what becomes of it. Only while it is open.
  Lot add(const Seen& seen) {
    const Lot lot = lot_of(seen.action, seen.decides);
    const bool good = (state() & kGood) != 0 || lot == Lot::kPass;
    const std::uint32_t count = (state() & kCountMask) + 1;
    if (lot != Lot::kPass && seen.decides) {
      set(kPass + static_cast<std::uint32_t>(lot), seen.rule);
    } else if (good) {
      // A rule that only counts goes on counting; it has no part in an unwelcome packet's.
      const bool was_good = (state() & kGood) != 0;
      policy::RuleNumber told = was_good ? rule() : policy::RuleNumber{0};
      if (told == 0 && seen.action == policy::RuleAction::kCount) told = seen.rule;
      set(count >= seen.scanned ? std::uint32_t{kPass} : kGood | count, told);
    } else {
      const bool decided = count >= std::max<std::uint32_t>(seen.scanned, 2);
      set(decided ? kPass + static_cast<std::uint32_t>(lot) : count, seen.rule);
    }
    return lot;
  }

 private:
  static constexpr unsigned kStateBits = 5;
  static constexpr std::uint32_t kRuleMask = 0x7FF;
  // States: how many packets were looked into, 0 to 7, and whether one of them was welcome; from
  // kPass on, the lots.
  static constexpr std::uint32_t kCountMask = 7, kGood = 8, kPass = 16;

  static Lot lot_of(policy::RuleAction action, bool decides) {
    switch (action) {
      case policy::RuleAction::kAllow:
      case policy::RuleAction::kCount:
        return Lot::kPass;
      case policy::RuleAction::kLimit:
        return Lot::kLimit;
      case policy::RuleAction::kDrop:
        return Lot::kDrop;
      case policy::RuleAction::kEnd:
        return decides ? Lot::kEnd : Lot::kDrop;
    }
    return Lot::kPass;
  }
  std::uint32_t state() const { return half_ & ((1U << kStateBits) - 1); }
  void set(std::uint32_t state, policy::RuleNumber rule) {
    half_ = (half_ & 0xFFFF'0000) | std::uint32_t{rule} << kStateBits | state;
  }

  std::uint32_t half_;
};

// Where the halves are.
constexpr unsigned verdict_shift(bool to_client) {
  return to_client ? 0 : 32;
}
constexpr std::uint32_t verdict_half(std::uint64_t word, bool to_client) {
  return static_cast<std::uint32_t>(word >> verdict_shift(to_client));
}
constexpr std::uint64_t with_verdict_half(std::uint64_t word, bool to_client, std::uint32_t half) {
  const unsigned shift = verdict_shift(to_client);
  return (word & ~(std::uint64_t{0xFFFF'FFFF} << shift)) | std::uint64_t{half} << shift;
}

}  // namespace turnpike::flow
