// Sums are the machine's (conversion.h).
#include "flow/bare_binding.h"

#include <array>
#include <cassert>
#include <cstring>

#include "flow/conversion.h"
#include "turnpike/stun.h"
#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::flow {
namespace {

using namespace wire;

constexpr std::size_t kIp = ethernet::kSize;
constexpr std::size_t kUdp = kIp + ipv4::kMinSize;
constexpr std::size_t kPayload = kUdp + udp::kSize;
static_assert(BareBinding::kUdpSize == udp::kSize + stun::kHeaderSize);
constexpr std::uint32_t kBareBinding = 0x00010000;  // type and length

}  // namespace

BareBinding::BareBinding(const Here& here, const std::vector<Listener>& listeners)
    : here_(here), listeners_(listeners) {}

// As Pipeline::is_answerable() has it.
bool BareBinding::is_answerable(std::uint32_t source, const Broadcasts& broadcasts) const {
  const std::uint32_t first = from_be32(source) >> 24;
  return first != 0 && first != 127 && first < 224 &&
         here_.find({Ip<Family::kIpv4>::word(source), 0}, Family::kIpv4) == nullptr &&
         !broadcasts.has(source);
}

bool BareBinding::answer(Packet& packet, ListenerIndex listener, const WorkerPolicy& policy) const {
  const BindingPattern& pattern = policy.binding;
  std::uint8_t* frame = packet.data;
  std::uint8_t* ip = frame + kIp;
  std::uint8_t* header = frame + kUdp;
  std::uint8_t* message = frame + kPayload;
  if (load32(message) != from_be32(kBareBinding) ||
      load32(message + 4) != from_be32(stun::kMagicCookie) || listeners_[listener].turn_only ||
      listeners_[listener].discovery ||
      !is_answerable(load32(ip + ipv4::kSource), policy.broadcasts))
    return false;
  if (!policy.clients.answer_everyone() &&
      !policy.clients.answer(Address::from_bytes(Family::kIpv4, ip + ipv4::kSource)))
    return false;
  const std::uint32_t ports = load32(header);
  const std::uint64_t transaction =
      std::uint64_t{load32(message + 8)} + load32(message + 12) + load32(message + 16);
  const std::uint64_t addresses =
      std::uint64_t{load32(ip + ipv4::kSource)} + load32(ip + ipv4::kDestination);
  const std::uint64_t kept = addresses + ports + transaction + from_be16(ip_protocol::kUdp);
  const std::uint16_t length = load16(header + udp::kLength);
  const std::uint16_t checksum = load16(header + udp::kChecksum);
  const std::uint64_t sum = kept + 2U * std::uint32_t{length} + checksum + from_be32(kBareBinding) +
                            from_be32(stun::kMagicCookie);
  if (packet.checksum != Checksum::kGood && checksum != 0 && fold64(sum) != 0xFFFF) return false;
  const std::size_t size = pattern.bytes.size();
  const std::size_t used = kPayload + size;
  const std::size_t room = packet.length + std::size_t{packet.tailroom};
  if (used > room) return false;

  std::array<std::uint8_t, ethernet::kAddressSize> mac;
  std::memcpy(mac.data(), frame + ethernet::kDestination, mac.size());
  std::memcpy(frame + ethernet::kDestination, frame + ethernet::kSource, mac.size());
  std::memcpy(frame + ethernet::kSource, mac.data(), mac.size());

  const std::uint32_t client = load32(ip + ipv4::kSource);
  const auto total = static_cast<std::uint32_t>(used - kIp);
  store32(ip, from_be32(0x45000000U | total));
  store16(ip + ipv4::kFlagsFragment, 0);
  store16(ip + ipv4::kTtl, from_be16(64 << 8 | ip_protocol::kUdp));
  store16(ip + ipv4::kChecksum, minus16(fold64(addresses + load32(ip) + load32(ip + ipv4::kId) +
                                               load16(ip + ipv4::kTtl))));
  store32(ip + ipv4::kSource, load32(ip + ipv4::kDestination));
  store32(ip + ipv4::kDestination, client);

  std::array<std::uint8_t, 12> id;
  std::memcpy(id.data(), message + 8, id.size());
  std::memcpy(message, pattern.bytes.data(), size);
  std::memcpy(message + 8, id.data(), id.size());
  const auto mapped_port = static_cast<std::uint16_t>(load16(header + udp::kSourcePort) ^
                                                      from_be16(stun::kMagicCookie >> 16));
  const std::uint32_t mapped_address = client ^ from_be32(stun::kMagicCookie);
  store16(message + BindingPattern::kMappedPort, mapped_port);
  store32(message + BindingPattern::kMappedAddress, mapped_address);

  const std::uint16_t new_length = from_be16(static_cast<std::uint16_t>(udp::kSize + size));
  store32(header, ports >> 16 | ports << 16);
  store16(header + udp::kLength, new_length);
  store16(header + udp::kChecksum,
          udp_on_wire(minus16(fold64(kept + 2U * std::uint32_t{new_length} + pattern.sum +
                                     mapped_port + mapped_address))));
  packet.tailroom = static_cast<std::uint16_t>(room - used);
  packet.length = static_cast<std::uint32_t>(used);
  packet.verdict = Verdict::kTransmitBack;
  return true;
}

}  // namespace turnpike::flow
