// What the relay takes by a port: frames to the port's own MAC, or to that of a macvlan on it (VRRP
// gives an address that moves between hosts a MAC that moves with it), untagged or with the tags of
// a VLAN that this host has there. All else is the kernel's matter. Written by control, which
// mirrors the kernel's interfaces; read by workers.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "tables/next_hop.h"

namespace turnpike::flow {

// Sets of tags, as numbers. Two tables: the one that isn't in use is filled anew, so that no reader
// misses what was and will be there.
class KnownTags {
 public:
  // `by_type`: a tag's type counts as well as its number. Not where it is lost on the way: the
  // kernel takes the outer tag off what af_packet gets, and the driver puts one of 802.1Q back.
  explicit KnownTags(bool by_type = true) : types_(by_type ? 0xFFFF'0000 : 0) {}

  bool takes(const VlanTags& tags) const {
    const std::uint64_t word = word_of(tags);
    if (word == 0) return true;
    const Table& table = tables_[current_.load(std::memory_order_acquire)];
    if (table.any.load(std::memory_order_relaxed)) return true;
    for (std::size_t i = start_of(word);; i = (i + 1) % kPlaces) {
      const std::uint64_t there = table.words[i].load(std::memory_order_relaxed);
      if (there == word || there == 0) return there == word;
    }
  }

  // Control. More than it has room for: any are taken.
  void replace(std::span<const VlanTags> all) {
    const std::uint32_t next = 1 - current_.load(std::memory_order_relaxed);
    Table& table = tables_[next];
    table.any.store(all.size() > kPlaces / 2, std::memory_order_relaxed);
    for (std::atomic<std::uint64_t>& word : table.words)
      word.store(0, std::memory_order_relaxed);
    for (const VlanTags& tags : all.first(std::min(all.size(), kPlaces / 2))) {
      const std::uint64_t word = word_of(tags);
      std::size_t i = start_of(word);
      while (table.words[i].load(std::memory_order_relaxed) != 0)
        i = (i + 1) % kPlaces;
      table.words[i].store(word, std::memory_order_relaxed);
    }
    current_.store(next, std::memory_order_release);
  }

 private:
  static constexpr std::size_t kPlaces = 8192;

  struct Table {
    std::atomic<bool> any{false};
    std::array<std::atomic<std::uint64_t>, kPlaces> words{};
  };

  // Types and numbers, without priority. A tag of VLAN 0 has nothing else (IEEE 802.1Q §6.9): it
  // says of no VLAN.
  std::uint64_t word_of(const VlanTags& tags) const {
    std::uint64_t word = 0;
    for (std::size_t at = 0; at < tags.size; at += 4) {
      const std::uint8_t* tag = tags.bytes.data() + at;
      const std::uint32_t id = (tag[2] & 0x0FU) << 8 | tag[3];
      const std::uint32_t type = std::uint32_t{tag[0]} << 24 | std::uint32_t{tag[1]} << 16;
      if (id != 0) word = word << 32 | (type & types_) | id;
    }
    return word;
  }
  static std::size_t start_of(std::uint64_t word) {
    return static_cast<std::size_t>((word * 0x9E37'79B9'7F4A'7C15) >> 51);
  }
  static_assert(kPlaces == std::size_t{1} << 13);

  const std::uint32_t types_;  // what of a type counts
  std::array<Table, 2> tables_;
  std::atomic<std::uint32_t> current_{0};
};

// Of one port.
struct alignas(64) Arrivals {
  static constexpr std::size_t kOthers = 5;

  // Without kMacResolved. Where nothing tells others of it (no kernel's interface answers for the
  // port), what comes by a wire is for its end: then only the bit of groups is compared.
  static constexpr MacWord kWhole = 0xFFFF'FFFF'FFFF, kGroupBit = 1;
  std::atomic<MacWord> mac{0};
  std::atomic<MacWord> mask{kWhole};
  std::array<std::atomic<MacWord>, kOthers> other_macs{};  // macvlans'; 0: none
  std::unique_ptr<KnownTags> tags;                         // none: any; fixed once workers run

  void take_any_mac() {
    mac.store(0, std::memory_order_relaxed);
    mask.store(kGroupBit, std::memory_order_relaxed);
  }
  // 0: it is the port's own.
  MacWord difference(MacWord to) const {
    return (to ^ mac.load(std::memory_order_relaxed)) & mask.load(std::memory_order_relaxed);
  }
  bool takes_mac(MacWord to) const {
    if (difference(to) == 0) return true;
    return to != 0 && std::any_of(other_macs.begin(), other_macs.end(), [to](const auto& other) {
             return other.load(std::memory_order_relaxed) == to;
           });
  }
  bool takes_tags(const VlanTags& of_frame) const { return !tags || tags->takes(of_frame); }
};

// The six octets at `from`, of which at least eight can be read.
inline MacWord read_mac(const std::uint8_t* from) {
  MacWord mac = 0;
  std::memcpy(&mac, from, sizeof mac);
  if constexpr (std::endian::native == std::endian::big) mac = __builtin_bswap64(mac);
  return mac & 0xFFFF'FFFF'FFFF;
}

inline MacWord mac_word(const std::array<std::uint8_t, 6>& mac) {
  std::array<std::uint8_t, 8> bytes{};
  std::memcpy(bytes.data(), mac.data(), mac.size());
  return read_mac(bytes.data());
}

}  // namespace turnpike::flow
