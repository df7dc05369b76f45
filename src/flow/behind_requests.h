// Data that stand behind a request (docs/protocol.md 22): clients such as libjuice send ChannelData
// in one breath with the ChannelBind that makes the channel. The request goes to the engine, the
// data stay on the worker, and would find no way yet; so they wait here for the answer, a few of
// them, for some milliseconds.
//
// Only of five-tuples that have an allocation, and only while such a request of theirs is with the
// engine: who sends without asking gets no place. A worker doesn't know the user; data of one
// source address, or /64, stand in for his. Of one worker, whose memory this is.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "turnpike/address.h"
#include "turnpike/flow_sink.h"

namespace turnpike::flow {

class BehindRequests {
 public:
  static constexpr std::size_t kPlaces = 64;
  static constexpr std::size_t kOfFiveTuple = 4;
  static constexpr std::size_t kOfSource = 16;
  static constexpr std::uint64_t kPatienceUs = 5000;

  explicit BehindRequests(std::size_t allocations) : under_way_(allocations) {}

  // A request that may open a way goes to the engine; and has come back, however it was answered.
  void asked(AllocationSlot slot) { ++under_way_[index(slot)]; }
  void answered(AllocationSlot slot) {
    std::uint16_t& count = under_way_[index(slot)];
    assert(count != 0);
    --count;
  }
  bool awaited(AllocationSlot slot) const { return under_way_[index(slot)] != 0; }

  // A place for what `cookie` stands for, from `now` in any unit; false: there is none.
  bool wait(AllocationSlot slot, const Address& source, std::uint64_t now, void* cookie) {
    if (waiting_ == kPlaces) return false;
    const std::uint64_t from = prefix(source);
    std::size_t of_five_tuple = 0;
    std::size_t of_source = 0;
    for (const Place& place : places()) {
      of_five_tuple += place.slot == slot ? 1 : 0;
      of_source += place.source == from ? 1 : 0;
    }
    if (of_five_tuple == kOfFiveTuple || of_source == kOfSource) return false;
    places_[waiting_++] = {slot, from, now, cookie};
    return true;
  }

  bool empty() const { return waiting_ == 0; }

  // Those of the five-tuple leave, in their order. Returns how many.
  std::size_t leave(AllocationSlot slot, std::array<void*, kPlaces>& out) {
    return leave_if(out, [&](const Place& place) { return place.slot == slot; });
  }
  // Those that came before `then`.
  std::size_t leave_before(std::uint64_t then, std::array<void*, kPlaces>& out) {
    return leave_if(out, [&](const Place& place) { return place.since < then; });
  }

 private:
  struct Place {
    AllocationSlot slot;
    std::uint64_t source;
    std::uint64_t since;
    void* cookie;
  };
  static std::size_t index(AllocationSlot slot) { return static_cast<std::size_t>(slot); }
  std::span<const Place> places() const { return {places_.data(), waiting_}; }
  // The address, or the /64 of it.
  static std::uint64_t prefix(const Address& address) {
    std::uint64_t word = 0;
    std::memcpy(&word, address.bytes.data(), sizeof word);
    return word;
  }
  template <typename Which>
  std::size_t leave_if(std::array<void*, kPlaces>& out, Which&& which) {
    std::size_t left = 0;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < waiting_; ++i) {
      if (which(places_[i])) {
        out[left++] = places_[i].cookie;
      } else {
        places_[kept++] = places_[i];
      }
    }
    waiting_ = kept;
    return left;
  }

  std::vector<std::uint16_t> under_way_;  // requests, by allocation slot
  std::array<Place, kPlaces> places_{};
  std::size_t waiting_ = 0;
};

}  // namespace turnpike::flow
