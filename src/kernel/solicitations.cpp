// Who is asked for, in what order and how often: within a budget for each round.
#include "kernel/solicitations.h"

#include <algorithm>

namespace turnpike::kernel {
namespace {

using flow::NextHop;

bool is_resolved(const NextHop& hop) {
  return (hop.mac.load(std::memory_order_relaxed) & flow::kMacResolved) != 0;
}

bool is_wanted(const NextHop& hop) {
  return hop.wanted.load(std::memory_order_relaxed) != 0;
}

}  // namespace

Solicitations::State& Solicitations::state_of(const HopTable& hops, std::uint32_t hop) {
  State& state = state_[hop];
  const std::uint32_t generation = hops.generation_of(hop);
  if (state.generation != generation) state = {generation, 0, {}, {}};
  return state;
}

void Solicitations::end_pending(HopTable& hops, Clock::time_point now) {
  std::erase_if(pending_, [&](Pending& one) {
    const bool same =
        hops.generation_of(one.hop) == one.generation && hops.key_of(one.hop) != nullptr;
    if (same && is_resolved(hops.data()[one.hop])) {
      state_of(hops, one.hop).silent = 0;
      return true;
    }
    if (same && now < one.until) return false;
    one.question.kind = Question::Kind::kForget;
    questions_.push_back(one.question);
    if (!same) return true;
    State& state = state_of(hops, one.hop);
    // The first time it may just have been slow.
    if (state.silent > 0)
      state.not_before = now + kPatience * (1 << std::min(state.silent, kMostDoublings));
    ++state.silent;
    return true;
  });
}

// Those that are known and in use, and gateways.
void Solicitations::keep_up(HopTable& hops, std::uint32_t number, Clock::time_point now) {
  NextHop& hop = hops.data()[number];
  const HopTable::Key* key = hops.key_of(number);
  if (key == nullptr || !is_wanted(hop)) return;
  const bool resolved = is_resolved(hop);
  if (!resolved && key->on_link) return;
  State& state = state_of(hops, number);
  if (now - state.asked < (resolved ? Clock::duration(kKeepAlive) : kAskGatewayAgain)) return;
  state.asked = now;
  hop.wanted.store(0, std::memory_order_relaxed);
  if (key->interface != 0)
    questions_.push_back({Question::Kind::kLook, key->interface, key->gateway});
}

// An address on the link that is missing. False: not now, too many are being looked for.
bool Solicitations::look_for(HopTable& hops, std::uint32_t number, Clock::time_point now) {
  NextHop& hop = hops.data()[number];
  const HopTable::Key* key = hops.key_of(number);
  if (key == nullptr || !key->on_link || key->interface == 0 || !is_wanted(hop) || is_resolved(hop))
    return true;
  State& state = state_of(hops, number);
  const std::uint32_t owner = hops.owner_of(number);
  std::size_t of_owner = 0;
  for (const Pending& one : pending_) {
    if (one.hop == number) return true;
    if (one.owner == owner) ++of_owner;
  }
  if (now < state.not_before) {
    hop.wanted.store(0, std::memory_order_relaxed);
    return true;
  }
  if (pending_.size() == kAtOnce) return false;
  if (of_owner >= kOfOneOwner) return true;
  hop.wanted.store(0, std::memory_order_relaxed);
  state.asked = now;
  const Question question{Question::Kind::kLook, key->interface, key->gateway};
  pending_.push_back({number, state.generation, owner, now + kPatience, question});
  questions_.push_back(question);
  return true;
}

const std::vector<Solicitations::Question>& Solicitations::tend(HopTable& hops,
                                                                Clock::time_point now,
                                                                std::uint32_t most) {
  questions_.clear();
  end_pending(hops, now);
  const std::uint32_t last = hops.highest();
  const auto step = [&](std::uint32_t& cursor) { cursor = cursor >= last ? 1 : cursor + 1; };
  for (std::uint32_t left = std::min(most, last); left > 0; --left, step(any_cursor_))
    keep_up(hops, any_cursor_, now);
  for (std::uint32_t left = std::min(most, last); left > 0; --left, step(on_link_cursor_)) {
    if (!look_for(hops, on_link_cursor_, now)) break;
  }
  return questions_;
}

}  // namespace turnpike::kernel
