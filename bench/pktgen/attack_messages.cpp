// The datagrams of each kind of attack, byte by byte.
#include "attack_messages.h"

#include <cstring>
#include <utility>

#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::pktgen {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageWriter;
using stun::Method;
using Buffer = AttackBuffer;
using Random = AttackRandom;

constexpr std::size_t kMedia = 160;
constexpr int kManyPeers = 48;  // with credentials behind them, also of IPv6

std::uint8_t random_byte(Random& random) {
  return static_cast<std::uint8_t>(random());
}

stun::TransactionId random_id(Random& random) {
  stun::TransactionId id{};
  for (std::uint8_t& byte : id)
    byte = random_byte(random);
  return id;
}

// Well-formed, and of no use to anybody: methods that don't exist, credentials that nobody gave,
// fingerprints that are wrong.
std::size_t write_bogus(Buffer& buffer, Random& random) {
  static constexpr std::array kMethods = {Method::kBinding, Method::kRefresh, Method::kChannelBind,
                                          static_cast<Method>(0x0FF)};
  MessageWriter writer(buffer, Class::kRequest, kMethods[random() % kMethods.size()],
                       random_id(random));
  writer.add_text(Attribute::kUsername, "nobody");
  writer.add_text(Attribute::kRealm, "nowhere");
  writer.add_text(Attribute::kNonce, "0123456789abcdef");
  std::array<std::uint8_t, 20> digest{};
  for (std::uint8_t& byte : digest)
    byte = random_byte(random);
  writer.add(Attribute::kMessageIntegrity, digest);
  writer.add_fingerprint();
  const std::size_t size = writer.finish().size();
  if (random() % 2 == 0) buffer[size - 1] ^= 0xFF;
  return size;
}

std::size_t write_allocate(Buffer& buffer, Random& random) {
  MessageWriter writer(buffer, Class::kRequest, Method::kAllocate, random_id(random));
  writer.add_u8_rfffu(Attribute::kRequestedTransport, 17);
  return writer.finish().size();
}

std::size_t write_binding(Buffer& buffer, Random& random) {
  return MessageWriter(buffer, Class::kRequest, Method::kBinding, random_id(random))
      .finish()
      .size();
}

// A length that is not the datagram's, an attribute that reaches beyond, ChannelData that claims
// more than there is, a message cut short, a missing cookie.
std::size_t write_malformed(Buffer& buffer, Random& random) {
  const std::size_t size = write_allocate(buffer, random);
  switch (random() % 5) {
    case 0:
      wire::store_be16(buffer.data() + 2, static_cast<std::uint16_t>(random()));
      return size;
    case 1:
      wire::store_be16(buffer.data() + stun::kHeaderSize + 2, 0xFFF0);
      return size;
    case 2:
      wire::store_be16(buffer.data(), 0x4000);
      wire::store_be16(buffer.data() + 2, 0x4000);
      return size;
    case 3:
      return 1 + random() % (size - 1);
    default:
      buffer[4] ^= 0xFF;
      return size;
  }
}

// Well-formed, and much to read: as many attributes as a packet holds; as many as a reader has
// patience for; the most of peers that a stranger can name.
std::size_t write_bomb(Buffer& buffer, Random& random) {
  static constexpr std::array kKinds = {std::pair(Class::kRequest, Method::kAllocate),
                                        std::pair(Class::kRequest, Method::kCreatePermission),
                                        std::pair(Class::kIndication, Method::kSend)};
  constexpr std::size_t kPeerSize = 12;
  const auto& [message_class, method] = kKinds[random() % kKinds.size()];
  MessageWriter writer(buffer, message_class, method, random_id(random));
  const std::size_t room = buffer.size() - stun::kHeaderSize;
  if (method == Method::kCreatePermission && random() % 2 == 0) {
    for (std::size_t i = 0; i < room / kPeerSize; ++i)
      writer.add_xor_address(Attribute::kXorPeerAddress, {Address::v4(192, 0, 2, 1), 0});
  } else {
    const std::size_t count = random() % 2 == 0 ? room / 4 : stun::kAttributesMax;
    for (std::size_t i = 0; i < count; ++i)
      writer.add(Attribute::kSoftware, {});
  }
  return writer.finish().size();
}

// Whole ChannelData, of any channel, from somebody who has none.
std::size_t write_channel_data(Buffer& buffer, Random& random) {
  constexpr std::size_t kHeader = stun::kChannelDataHeaderSize;
  wire::store_be16(buffer.data(), static_cast<std::uint16_t>(0x4000 + random() % 0x1000));
  wire::store_be16(buffer.data() + 2, kMedia);
  for (std::size_t i = 0; i < kMedia; ++i)
    buffer[kHeader + i] = random_byte(random);
  return kHeader + kMedia;
}

}  // namespace

std::size_t write_strangers(Attack attack, Buffer& buffer, Random& random) {
  switch (attack) {
    case Attack::kBogus:
      return write_bogus(buffer, random);
    case Attack::kAllocate:
      return write_allocate(buffer, random);
    case Attack::kBindings:
      return write_binding(buffer, random);
    case Attack::kBombs:
      return write_bomb(buffer, random);
    case Attack::kChannels:
    case Attack::kFragments:
      return write_channel_data(buffer, random);
    default:
      return write_malformed(buffer, random);
  }
}

MessageWriter begin_users_request(Buffer& buffer, const Endpoint& peer, Random& random) {
  static constexpr std::array kMethods = {Method::kCreatePermission, Method::kChannelBind,
                                          Method::kRefresh, Method::kAllocate};
  const Method method = kMethods[random() % kMethods.size()];
  MessageWriter writer(buffer, Class::kRequest, method, random_id(random));
  if (method == Method::kAllocate) {
    writer.add_u8_rfffu(Attribute::kRequestedTransport, 17);
  } else if (method == Method::kRefresh) {
    writer.add_u32(Attribute::kLifetime, 3600);
  } else {
    if (method == Method::kChannelBind)
      writer.add_channel_number(static_cast<std::uint16_t>(0x4000 + random() % 0x1000));
    const bool many = method == Method::kCreatePermission && random() % 4 == 0;
    for (int i = 0; i < (many ? kManyPeers : 1); ++i)
      writer.add_xor_address(Attribute::kXorPeerAddress, peer);
  }
  return writer;
}

void forge(std::span<std::uint8_t> request) {
  request.back() ^= 0xFF;
}

std::size_t make_fragment(std::uint8_t* frame, std::size_t size, Family family, Random& random) {
  namespace ipv4 = wire::ipv4;
  namespace ipv6 = wire::ipv6;
  namespace ipv6_fragment = wire::ipv6_fragment;
  std::uint8_t* ip = frame + wire::ethernet::kSize;
  // 0: the first; else a middle one, of any place. More follow either.
  const auto place = static_cast<std::uint16_t>(random() % 2 == 0 ? 0 : 1 + random() % 1000);
  if (family == Family::kIpv4) {
    // What isn't the last carries a multiple of eight.
    const std::size_t carried = (size - wire::ethernet::kSize - ipv4::kMinSize) & ~std::size_t{7};
    wire::store_be16(ip + ipv4::kTotalLength, static_cast<std::uint16_t>(ipv4::kMinSize + carried));
    wire::store_be16(ip + ipv4::kId, static_cast<std::uint16_t>(random()));
    wire::store_be16(ip + ipv4::kFlagsFragment,
                     static_cast<std::uint16_t>(ipv4::kMoreFragments | place));
    wire::store_be16(ip + ipv4::kChecksum, wire::ipv4_header_checksum(ip, ipv4::kMinSize));
    return wire::ethernet::kSize + ipv4::kMinSize + carried;
  }
  const std::size_t carried = (size - wire::ethernet::kSize - ipv6::kSize) & ~std::size_t{7};
  std::uint8_t* header = ip + ipv6::kSize;
  std::memmove(header + ipv6_fragment::kSize, header, carried);
  header[ipv6_fragment::kNextHeader] = ip[ipv6::kNextHeader];
  header[ipv6_fragment::kNextHeader + 1] = 0;
  wire::store_be16(header + ipv6_fragment::kOffsetFlags,
                   static_cast<std::uint16_t>(place << 3 | ipv6_fragment::kMoreFragments));
  wire::store_be32(header + ipv6_fragment::kId, static_cast<std::uint32_t>(random()));
  ip[ipv6::kNextHeader] = wire::ip_protocol::kFragment;
  wire::store_be16(ip + ipv6::kPayloadLength,
                   static_cast<std::uint16_t>(ipv6_fragment::kSize + carried));
  return wire::ethernet::kSize + ipv6::kSize + ipv6_fragment::kSize + carried;
}

}  // namespace turnpike::pktgen
