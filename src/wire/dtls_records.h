// DTLS's records (RFC 6347 §4.1) as far as they are read before any state is kept, or beside who
// keeps it: whose hello a datagram is, and what it would have a receiver hold for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "turnpike/stun.h"

namespace turnpike::wire {

namespace dtls {
constexpr std::size_t kRecordHeaderSize = 13;
constexpr std::size_t kHandshakeHeaderSize = 12;
constexpr std::uint8_t kHandshake = 22;        // content type
constexpr std::uint8_t kApplicationData = 23;  // likewise
constexpr std::size_t kRandomSize = 32;
constexpr std::size_t kMostCookie = 255;
}  // namespace dtls

// By the first byte of a datagram (RFC 7983 §7).
constexpr bool may_be_dtls(std::uint8_t first_byte) {
  return first_byte >= 20 && first_byte <= 63;
}

// A ClientHello that stands whole at the start of a datagram; its parts are in there.
struct ClientHello {
  stun::Bytes sequence;  // the record's, 6 bytes
  stun::Bytes random;
  stun::Bytes cookie;  // empty: it has none
};

enum class HelloState : std::uint8_t {
  kNone,    // it is none
  kBroken,  // it is one, but cut short or in fragments, which nobody without state can read
  kWhole,
};
// Of what has no cookie yet, or of a handshake that begins: epoch 0.
HelloState read_client_hello(stun::Bytes datagram, ClientHello& out);

// Answers `hello` with a HelloVerifyRequest (RFC 6347 §4.2.1) that carries `cookie`, of at most
// kMostVerifyRequest less its headers; returns its size, which is less than any hello's.
constexpr std::size_t kMostVerifyRequest = 28 + 32;
std::size_t write_hello_verify_request(const ClientHello& hello, stun::Bytes cookie,
                                       std::span<std::uint8_t, kMostVerifyRequest> out);

// What the records of a datagram say of themselves.
struct DtlsGlance {
  // Of a plain handshake's messages: the greatest length that one says it has, in all its
  // fragments.
  std::size_t longest_message = 0;
  unsigned encrypted = 0;           // records of later epochs
  std::size_t least_encrypted = 0;  // bytes in the shortest of these
  std::size_t longest_record = 0;   // of all, without its header
  bool even = false;                // they are all of the datagram
  bool of_12 = true;                // each says that it is of DTLS 1.2
};
// A plain handshake's record whose messages don't come out even has one of endless length.
DtlsGlance glance_at_dtls(stun::Bytes datagram);

}  // namespace turnpike::wire
