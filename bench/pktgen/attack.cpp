#include "attack.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <stdexcept>
#include <utility>

#include "turnpike/stun.h"
#include "wire/headers.h"

namespace turnpike::pktgen {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageWriter;
using stun::Method;
using Random = std::mt19937;

constexpr std::size_t kFrames = 16384;
constexpr std::size_t kMostMessage = 1440;
using Buffer = std::array<std::uint8_t, kMostMessage>;

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

// Legal, and as many attributes as a packet holds: what costs a reader most.
std::size_t write_bomb(Buffer& buffer, Random& random) {
  static constexpr std::array kKinds = {std::pair(Class::kRequest, Method::kAllocate),
                                        std::pair(Class::kRequest, Method::kCreatePermission),
                                        std::pair(Class::kIndication, Method::kSend)};
  const auto& [message_class, method] = kKinds[random() % kKinds.size()];
  MessageWriter writer(buffer, message_class, method, random_id(random));
  for (std::size_t size = stun::kHeaderSize; size + 4 <= buffer.size(); size += 4)
    writer.add(Attribute::kSoftware, {});
  return writer.finish().size();
}

std::size_t write_message(Attack attack, Buffer& buffer, Random& random) {
  static constexpr std::array kAll = {Attack::kBogus, Attack::kAllocate, Attack::kMalformed,
                                      Attack::kBombs};
  switch (attack == Attack::kAll ? kAll[random() % kAll.size()] : attack) {
    case Attack::kBogus:
      return write_bogus(buffer, random);
    case Attack::kAllocate:
      return write_allocate(buffer, random);
    case Attack::kBombs:
      return write_bomb(buffer, random);
    default:
      return write_malformed(buffer, random);
  }
}

}  // namespace

AttackFrames::AttackFrames(const World& world) {
  const Options& options = world.options;
  if (options.attack == Attack::kNone) return;
  Random random(1);
  for (std::size_t i = 0; i < kFrames; ++i) {
    const std::uint32_t flow = static_cast<std::uint32_t>(i % world.plan.flows());
    const Endpoint& server = world.plan.server(flow);
    const Family family = server.address.family;
    const EndpointRange& range = world.plan.attackers(family);
    const Endpoint from = range.at(static_cast<std::uint32_t>(random() % range.size()));
    Buffer message{};
    const std::size_t size = write_message(options.attack, message, random);
    const std::size_t headers = headers_size(family);
    const std::size_t at = arena_.size();
    arena_.resize(at + headers + size);
    std::uint8_t* frame = arena_.data() + at;
    write_headers(frame, world.client_port.macs(family), from, server, size);
    std::memcpy(frame + headers, message.data(), size);
    set_udp_checksum(frame, family, size);
    frames_.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint16_t>(headers + size)});
  }
}

Bytes AttackFrames::next() {
  const Frame& frame = frames_[next_];
  next_ = next_ + 1 == frames_.size() ? 0 : next_ + 1;
  return {arena_.data() + frame.at, frame.size};
}

}  // namespace turnpike::pktgen
