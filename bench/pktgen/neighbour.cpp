// ARP and neighbour discovery, byte by byte: questions for our addresses answered, answers to
// ours read.
#include "neighbour.h"

#include <algorithm>
#include <cstring>

#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::pktgen {
namespace {

using namespace wire;

// ARP for Ethernet and IPv4.
namespace arp {
constexpr std::size_t kSize = 28;
constexpr std::size_t kOperation = 6;
constexpr std::size_t kSenderMac = 8;
constexpr std::size_t kSenderAddress = 14;
constexpr std::size_t kTargetMac = 18;
constexpr std::size_t kTargetAddress = 24;
constexpr std::uint16_t kRequest = 1;
constexpr std::uint16_t kReply = 2;
constexpr std::array<std::uint8_t, 6> kBegin = {0, 1, 8, 0, 6, 4};
}  // namespace arp

// A solicitation or advertisement with one link-layer address option, as we send them.
namespace nd {
constexpr std::size_t kSize = 32;
constexpr std::size_t kFlags = 4;
constexpr std::size_t kTarget = 8;
constexpr std::size_t kOption = 24;
constexpr std::uint8_t kSolicitation = 135;
constexpr std::uint8_t kAdvertisement = 136;
constexpr std::uint8_t kSourceLinkLayer = 1;
constexpr std::uint8_t kTargetLinkLayer = 2;
constexpr std::uint32_t kSolicitedOverride = 0x60000000;
}  // namespace nd

constexpr std::size_t kIp = ethernet::kSize;
constexpr std::size_t kNd = kIp + ipv6::kSize;

void write_ethernet(std::uint8_t* frame, const Mac& from, const Mac& to, std::uint16_t type) {
  std::memcpy(frame + ethernet::kDestination, to.data(), to.size());
  std::memcpy(frame + ethernet::kSource, from.data(), from.size());
  store_be16(frame + ethernet::kType, type);
}

Mac mac_at(const std::uint8_t* at) {
  Mac mac{};
  std::memcpy(mac.data(), at, mac.size());
  return mac;
}

std::size_t write_arp(std::uint8_t* out, std::uint16_t operation, const Mac& sender,
                      const std::uint8_t* sender_address, const Mac& target,
                      const std::uint8_t* target_address) {
  std::uint8_t* at = out + kIp;
  std::memcpy(at, arp::kBegin.data(), arp::kBegin.size());
  store_be16(at + arp::kOperation, operation);
  std::memcpy(at + arp::kSenderMac, sender.data(), sender.size());
  std::memcpy(at + arp::kSenderAddress, sender_address, 4);
  std::memcpy(at + arp::kTargetMac, target.data(), target.size());
  std::memcpy(at + arp::kTargetAddress, target_address, 4);
  return kIp + arp::kSize;
}

std::size_t write_nd(std::uint8_t* out, std::uint8_t type, std::uint32_t flags,
                     const std::uint8_t* from, const std::uint8_t* to, const std::uint8_t* target,
                     std::uint8_t option, const Mac& mac) {
  std::uint8_t* ip = out + kIp;
  ipv6::set_class_and_flow(ip, 0, 0);
  store_be16(ip + ipv6::kPayloadLength, nd::kSize);
  ip[ipv6::kNextHeader] = ip_protocol::kIcmpv6;
  ip[ipv6::kHopLimit] = 255;
  std::memcpy(ip + ipv6::kSource, from, 16);
  std::memcpy(ip + ipv6::kDestination, to, 16);
  std::uint8_t* at = out + kNd;
  std::memset(at, 0, nd::kSize);
  at[icmp::kType] = type;
  store_be32(at + nd::kFlags, flags);
  std::memcpy(at + nd::kTarget, target, 16);
  at[nd::kOption] = option;
  at[nd::kOption + 1] = 1;
  std::memcpy(at + nd::kOption + 2, mac.data(), mac.size());
  const std::uint32_t sum =
      std::uint32_t{pseudo_header_sum_v6(from, to, ip_protocol::kIcmpv6, nd::kSize)} +
      sum_bytes(at, nd::kSize);
  store_be16(at + icmp::kChecksum, static_cast<std::uint16_t>(~fold(sum)));
  return kNd + nd::kSize;
}

bool is_arp(Bytes frame, std::uint16_t operation) {
  return frame.size() >= kIp + arp::kSize &&
         load_be16(frame.data() + ethernet::kType) == ether_type::kArp &&
         std::equal(arp::kBegin.begin(), arp::kBegin.end(), frame.data() + kIp) &&
         load_be16(frame.data() + kIp + arp::kOperation) == operation;
}

bool is_nd(Bytes frame, std::uint8_t type) {
  return frame.size() >= kNd + nd::kOption &&
         load_be16(frame.data() + ethernet::kType) == ether_type::kIpv6 &&
         frame[kIp + ipv6::kNextHeader] == ip_protocol::kIcmpv6 &&
         frame[kIp + ipv6::kHopLimit] == 255 && frame[kNd + icmp::kType] == type;
}

std::size_t answer_arp(Bytes frame, const Plan& plan, const Mac& ours, std::uint8_t* out) {
  const std::uint8_t* asked = frame.data() + kIp;
  if (!plan.is_ours(Address::from_bytes(Family::kIpv4, asked + arp::kTargetAddress))) return 0;
  const Mac asker = mac_at(asked + arp::kSenderMac);
  write_ethernet(out, ours, asker, ether_type::kArp);
  return write_arp(out, arp::kReply, ours, asked + arp::kTargetAddress, asker,
                   asked + arp::kSenderAddress);
}

std::size_t answer_nd(Bytes frame, const Plan& plan, const Mac& ours, std::uint8_t* out) {
  const std::uint8_t* target = frame.data() + kNd + nd::kTarget;
  const std::uint8_t* asker = frame.data() + kIp + ipv6::kSource;
  // One without an address checks for duplicates: nobody of ours to defend.
  if (!plan.is_ours(Address::from_bytes(Family::kIpv6, target)) ||
      Address::from_bytes(Family::kIpv6, asker).is_unspecified())
    return 0;
  write_ethernet(out, ours, mac_at(frame.data() + ethernet::kSource), ether_type::kIpv6);
  return write_nd(out, nd::kAdvertisement, nd::kSolicitedOverride, target, asker, target,
                  nd::kTargetLinkLayer, ours);
}

}  // namespace

std::size_t answer_neighbour(Bytes frame, const Plan& plan, const Mac& ours,
                             std::span<std::uint8_t> out) {
  if (is_arp(frame, arp::kRequest)) return answer_arp(frame, plan, ours, out.data());
  if (is_nd(frame, nd::kSolicitation)) return answer_nd(frame, plan, ours, out.data());
  return 0;
}

std::size_t ask_neighbour(const Address& wanted, const Address& asker, const Mac& ours,
                          std::span<std::uint8_t> out) {
  if (wanted.family == Family::kIpv4) {
    write_ethernet(out.data(), ours, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, ether_type::kArp);
    return write_arp(out.data(), arp::kRequest, ours, asker.bytes.data(), {}, wanted.bytes.data());
  }
  // The solicited-node multicast address (RFC 4291 §2.7.1) and its MAC (RFC 2464 §7).
  std::array<std::uint8_t, 16> group = {0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xFF};
  std::copy(wanted.bytes.begin() + 13, wanted.bytes.end(), group.begin() + 13);
  const Mac to = {0x33, 0x33, group[12], group[13], group[14], group[15]};
  write_ethernet(out.data(), ours, to, ether_type::kIpv6);
  return write_nd(out.data(), nd::kSolicitation, 0, asker.bytes.data(), group.data(),
                  wanted.bytes.data(), nd::kSourceLinkLayer, ours);
}

std::optional<Mac> neighbour_answer(Bytes frame, const Address& wanted) {
  if (wanted.family == Family::kIpv4) {
    if (!is_arp(frame, arp::kReply)) return std::nullopt;
    const std::uint8_t* at = frame.data() + kIp;
    if (Address::from_bytes(Family::kIpv4, at + arp::kSenderAddress) != wanted) return std::nullopt;
    return mac_at(at + arp::kSenderMac);
  }
  if (!is_nd(frame, nd::kAdvertisement) || frame.size() < kNd + nd::kSize ||
      Address::from_bytes(Family::kIpv6, frame.data() + kNd + nd::kTarget) != wanted)
    return std::nullopt;
  const std::uint8_t* option = frame.data() + kNd + nd::kOption;
  if (option[0] != nd::kTargetLinkLayer || option[1] != 1) return std::nullopt;
  return mac_at(option + 2);
}

}  // namespace turnpike::pktgen
