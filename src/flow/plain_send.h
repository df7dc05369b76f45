// The Send indications that nearly all are: XOR-PEER-ADDRESS and DATA, in either order (pion begins
// with DATA), and maybe a FINGERPRINT. Any other shape is for the parser (turnpike/stun.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "flow/conversion.h"
#include "tables/address_map.h"
#include "turnpike/address.h"
#include "turnpike/stun.h"
#include "wire/crc32.h"
#include "wire/headers.h"

namespace turnpike::flow {

struct PlainSend {
  AddressWords peer;
  Family family;  // of the peer
  std::uint16_t port;
  std::uint16_t framing;  // bytes before the data, a multiple of four
  std::uint16_t body_size;
  std::uint16_t behind;  // bytes behind the data and its padding, which is of zeros
};

// False: of another shape, or not right.
TURNPIKE_INLINE bool read_plain_send(const std::uint8_t* message, std::size_t size,
                                     PlainSend& send) {
  using namespace wire;
  constexpr std::size_t kFingerprintSize = 8;
  constexpr std::uint32_t kFingerprint =
      static_cast<std::uint32_t>(stun::Attribute::kFingerprint) << 16 | 4;  // type and length
  constexpr auto kData = static_cast<std::uint16_t>(stun::Attribute::kData);
  if (size < indication_framing(Family::kIpv4) || load_be16(message) != kSendIndication ||
      load_be32(message + 4) != stun::kMagicCookie ||
      load_be16(message + 2) + stun::kHeaderSize != size) {
    return false;
  }
  std::size_t peer_at = stun::kHeaderSize;
  std::size_t data_at = stun::kHeaderSize;
  const bool data_first = load_be16(message + stun::kHeaderSize) == kData;
  const auto padded = [](std::size_t bytes) { return (bytes + 3) & ~std::size_t{3}; };
  if (data_first) {
    peer_at += 4 + padded(load_be16(message + data_at + 2));
    if (peer_at + 4 > size) return false;
  }
  const std::uint32_t peer = load_be32(message + peer_at);
  const bool v4 = peer == xor_peer_address(Family::kIpv4);
  if (!v4 && peer != xor_peer_address(Family::kIpv6)) return false;
  const Family family = v4 ? Family::kIpv4 : Family::kIpv6;
  const std::size_t peer_end = peer_at + (v4 ? 12 : 24);
  if (!data_first) {
    data_at = peer_end;
    if (data_at + 4 > size || load_be16(message + data_at) != kData) return false;
  }
  const std::size_t body_size = load_be16(message + data_at + 2);
  const std::size_t body_end = data_at + 4 + body_size;
  const std::size_t data_end = data_at + 4 + padded(body_size);
  const std::size_t end = data_first ? peer_end : data_end;
  if (end != size) {
    if (end + kFingerprintSize != size || load_be32(message + end) != kFingerprint ||
        load_be32(message + end + 4) != fingerprint({message, end})) {
      return false;
    }
  }
  if (message[peer_at + 5] != static_cast<std::uint8_t>(family)) return false;
  // Zeros leave the checksum as it is.
  for (std::size_t at = body_end; at < data_end; ++at) {
    if (message[at] != 0) return false;
  }
  send.family = family;
  if (v4) {
    send.peer = {
        Ip<Family::kIpv4>::word(load32(message + peer_at + 8) ^ from_be32(stun::kMagicCookie)), 0};
  } else {
    send.peer = {load64(message + peer_at + 8) ^ load64(message + 4),
                 load64(message + peer_at + 16) ^ load64(message + 12)};
  }
  send.port =
      static_cast<std::uint16_t>(load_be16(message + peer_at + 6) ^ (stun::kMagicCookie >> 16));
  send.framing = static_cast<std::uint16_t>(data_at + 4);
  send.body_size = static_cast<std::uint16_t>(body_size);
  send.behind = static_cast<std::uint16_t>(size - data_end);
  return send.port != 0;
}

}  // namespace turnpike::flow
