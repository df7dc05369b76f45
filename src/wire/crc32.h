// The CRC-32 of ITU V.42 that FINGERPRINT is made of (RFC 8489 §14.7). Eight bytes a step: relayed
// messages with a fingerprint are checked on the workers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace turnpike::wire {

namespace crc32_detail {
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;
constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
    tables[0][i] = crc;
  }
  for (std::size_t i = 0; i < 256; ++i) {
    for (std::size_t k = 1; k < 8; ++k) {
      const std::uint32_t before = tables[k - 1][i];
      tables[k][i] = before >> 8 ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}
inline constexpr Tables kTables = make_tables();
}  // namespace crc32_detail

inline std::uint32_t crc32(std::span<const std::uint8_t> data) {
  const auto& table = crc32_detail::kTables;
  std::uint32_t crc = 0xFFFFFFFF;
  std::size_t i = 0;
  for (; i + 8 <= data.size(); i += 8) {
    const std::uint8_t* at = data.data() + i;
    crc = table[7][(crc ^ at[0]) & 0xFF] ^ table[6][(crc >> 8 ^ at[1]) & 0xFF] ^
          table[5][(crc >> 16 ^ at[2]) & 0xFF] ^ table[4][(crc >> 24 ^ at[3]) & 0xFF] ^
          table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^ table[0][at[7]];
  }
  for (; i < data.size(); ++i)
    crc = crc >> 8 ^ table[0][(crc ^ data[i]) & 0xFF];
  return ~crc;
}

// What FINGERPRINT says of the `message` before it (RFC 8489 §14.7).
inline std::uint32_t fingerprint(std::span<const std::uint8_t> message) {
  return crc32(message) ^ 0x5354554E;  // "STUN"
}

}  // namespace turnpike::wire
