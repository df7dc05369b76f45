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

// What reads the attributes: where they stand is known from the first one, and for the most part
// when this is compiled.
template <Family kPeer>
TURNPIKE_INLINE bool read_plain_send_at(const std::uint8_t* message, std::size_t size,
                                        std::size_t peer_at, std::size_t data_at, PlainSend& send) {
  using namespace wire;
  constexpr std::size_t kFingerprintSize = 8;
  constexpr std::uint32_t kFingerprint =
      static_cast<std::uint32_t>(stun::Attribute::kFingerprint) << 16 | 4;  // type and length
  const std::size_t peer_end = peer_at + (kPeer == Family::kIpv4 ? 12 : 24);
  const std::size_t body_size = load_be16(message + data_at + 2);
  const std::size_t data_end = data_at + 4 + (body_size + 3) / 4 * 4;
  const std::size_t end = peer_at > data_at ? peer_end : data_end;
  if (end != size) {
    if (end + kFingerprintSize != size || load_be32(message + end) != kFingerprint ||
        load_be32(message + end + 4) != fingerprint({message, end})) {
      return false;
    }
  }
  // Zeros of padding leave the checksum as it is.
  const std::uint32_t padding = (std::uint32_t{1} << 8 * (-body_size % 4)) - 1;
  if (message[peer_at + 5] != static_cast<std::uint8_t>(kPeer) ||
      (load_be32(message + data_end - 4) & padding) != 0) {
    return false;
  }
  if constexpr (kPeer == Family::kIpv4) {
    send.peer = {
        Ip<Family::kIpv4>::word(load32(message + peer_at + 8) ^ from_be32(stun::kMagicCookie)), 0};
  } else {
    send.peer = {load64(message + peer_at + 8) ^ load64(message + 4),
                 load64(message + peer_at + 16) ^ load64(message + 12)};
  }
  send.family = kPeer;
  send.port =
      static_cast<std::uint16_t>(load_be16(message + peer_at + 6) ^ (stun::kMagicCookie >> 16));
  send.framing = static_cast<std::uint16_t>(data_at + 4);
  send.body_size = static_cast<std::uint16_t>(body_size);
  send.behind = static_cast<std::uint16_t>(size - data_end);
  return send.port != 0;
}

// False: of another shape, or not right.
TURNPIKE_INLINE bool read_plain_send(const std::uint8_t* message, std::size_t size,
                                     PlainSend& send) {
  using namespace wire;
  constexpr std::size_t kFirst = stun::kHeaderSize;
  constexpr auto kData = static_cast<std::uint16_t>(stun::Attribute::kData);
  constexpr std::uint32_t kPeer4 = xor_peer_address(Family::kIpv4);
  constexpr std::uint32_t kPeer6 = xor_peer_address(Family::kIpv6);
  constexpr std::size_t kSize4 = indication_framing(Family::kIpv4);
  constexpr std::size_t kSize6 = indication_framing(Family::kIpv6);
  if (size < kSize4 || load_be16(message) != kSendIndication ||
      load_be32(message + 4) != stun::kMagicCookie ||
      load_be16(message + 2) + stun::kHeaderSize != size) {
    return false;
  }
  const std::uint32_t first = load_be32(message + kFirst);
  if (first == kPeer4) {
    return load_be16(message + kSize4 - 4) == kData &&
           read_plain_send_at<Family::kIpv4>(message, size, kFirst, kSize4 - 4, send);
  }
  if (first == kPeer6) {
    return size >= kSize6 && load_be16(message + kSize6 - 4) == kData &&
           read_plain_send_at<Family::kIpv6>(message, size, kFirst, kSize6 - 4, send);
  }
  if (first >> 16 != kData) return false;
  const std::size_t peer_at = kFirst + 4 + ((first & 0xFFFF) + 3) / 4 * 4;
  if (peer_at + 12 > size) return false;
  const std::uint32_t peer = load_be32(message + peer_at);
  if (peer == kPeer4)
    return read_plain_send_at<Family::kIpv4>(message, size, peer_at, kFirst, send);
  return peer == kPeer6 && peer_at + 24 <= size &&
         read_plain_send_at<Family::kIpv6>(message, size, peer_at, kFirst, send);
}

}  // namespace turnpike::flow
