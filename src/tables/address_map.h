// What is known of some addresses that are told at the start and are few: a node's own. At most a
// quarter of the places is taken, so that however many there are, a look is mostly one place. Not
// keyed: what is in it, the configuration says.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::flow {

// An address as the machine loads it; the second word of IPv4 is zero.
using AddressWords = std::array<std::uint64_t, 2>;

inline AddressWords words_of(const Address& address) {
  AddressWords words;
  std::memcpy(words.data(), address.bytes.data(), sizeof(words));
  return words;
}

template <typename Value>
class AddressMap {
 public:
  explicit AddressMap(std::size_t capacity)
      : places_(std::bit_ceil(4 * capacity + 4)),
        shift_(64 - static_cast<unsigned>(std::countr_zero(places_.size()))) {}

  // What is known of the address; a Value of nothing, if it is new. No more than `capacity`.
  Value& operator[](const Address& address) {
    const AddressWords words = words_of(address);
    const auto family = static_cast<std::uint32_t>(address.family);
    std::size_t at = start_of(words, address.family);
    while (places_[at].family != 0 && !is(places_[at], words, family))
      at = after(at);
    places_[at].words = words;
    places_[at].family = family;
    return places_[at].value;
  }

  // nullptr: nothing.
  const Value* find(const AddressWords& words, Family family) const {
    for (std::size_t at = start_of(words, family);; at = after(at)) {
      const Place& place = places_[at];
      if (is(place, words, static_cast<std::uint32_t>(family))) return &place.value;
      if (place.family == 0) return nullptr;
    }
  }
  const Value* find(const Address& address) const {
    return find(words_of(address), address.family);
  }

 private:
  struct Place {
    AddressWords words{};
    std::uint32_t family = 0;  // 0: free
    Value value{};
  };

  static bool is(const Place& place, const AddressWords& words, std::uint32_t family) {
    return ((place.words[0] ^ words[0]) | (place.words[1] ^ words[1]) | (place.family ^ family)) ==
           0;
  }
  std::size_t start_of(const AddressWords& words, Family family) const {
    const std::uint64_t mixed = words[0] ^ std::rotl(words[1], 29) ^ static_cast<unsigned>(family);
    return static_cast<std::size_t>((mixed ^ mixed >> 32) * 0x9E37'79B9'7F4A'7C15 >> shift_);
  }
  std::size_t after(std::size_t at) const { return at + 1 == places_.size() ? 0 : at + 1; }

  std::vector<Place> places_;
  unsigned shift_;
};

}  // namespace turnpike::flow
