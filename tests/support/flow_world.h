// A pipeline with one allocation to relay for, without DPDK: real tables, a made-up next hop, and
// frames built and read by code that shares nothing with the pipeline's.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "flow/pipeline.h"
#include "next_hops.h"
#include "tables/tables.h"

namespace turnpike::flow::test {

inline const Address kServer4 = Address::v4(192, 0, 2, 1);
inline const Address kServer6 = *Address::parse("2001:db8::1");
inline const Address kRelay4 = Address::v4(192, 0, 2, 2);
inline const Address kRelay6 = *Address::parse("2001:db8::2");
inline const Address kClient4 = Address::v4(198, 51, 100, 1);
inline const Address kClient6 = *Address::parse("2001:db8:1::1");
inline const Address kPeer4 = Address::v4(203, 0, 113, 9);
inline const Address kPeer6 = *Address::parse("2001:db8:2::9");
constexpr std::uint16_t kPort = 3478, kClientPort = 40000, kRelayPort4 = 50000, kRelayPort6 = 50001,
                        kPeerPort = 7000;
// Of further listeners at the same addresses.
constexpr std::uint16_t kStunOnlyPort = 3480, kTurnOnlyPort = 3481;
inline constexpr std::uint16_t kDtlsPort = 5349;  // kPort has it too, beside UDP

inline constexpr HashKey kHashKey{0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0,
                                  0x082efa98ec4e6c89};

// What goes into an IP header, and comes out.
struct Datagram {
  Endpoint source, destination;
  std::vector<std::uint8_t> payload;
  std::uint8_t ttl = 64;
  std::uint8_t traffic_class = 0;
  std::uint32_t flow_label = 0;  // of IPv6; ours are 0
  bool dont_fragment = false;
  enum class Sum : std::uint8_t { kRight, kZero, kPartial } sum = Sum::kRight;
};

inline std::uint16_t get16(const std::uint8_t* at) {
  return static_cast<std::uint16_t>(at[0] << 8 | at[1]);
}
inline void put16(std::uint8_t* at, std::uint16_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}

// The plain sum of RFC 1071, byte pairs and nothing clever.
inline std::uint32_t plain_sum(const std::uint8_t* data, std::size_t size) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < size; ++i)
    sum += i % 2 == 0 ? data[i] << 8 : data[i];
  while (sum >> 16 != 0)
    sum = (sum & 0xFFFF) + (sum >> 16);
  return sum;
}
inline std::uint16_t fold_plain(std::uint32_t sum) {
  while (sum >> 16 != 0)
    sum = (sum & 0xFFFF) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}
inline std::uint16_t pseudo(const Endpoint& source, const Endpoint& destination,
                            std::size_t udp_size) {
  return fold_plain(plain_sum(source.address.bytes.data(), source.address.size()) +
                    plain_sum(destination.address.bytes.data(), destination.address.size()) + 17 +
                    static_cast<std::uint32_t>(udp_size));
}

inline std::vector<std::uint8_t> frame_of(const Datagram& datagram) {
  const bool v4 = datagram.source.address.family == Family::kIpv4;
  const std::size_t ip_size = v4 ? 20 : 40;
  const std::size_t udp_size = 8 + datagram.payload.size();
  std::vector<std::uint8_t> frame(14 + ip_size + udp_size);
  std::memcpy(frame.data(), "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", 12);
  put16(frame.data() + 12, v4 ? 0x0800 : 0x86DD);
  std::uint8_t* ip = frame.data() + 14;
  if (v4) {
    ip[0] = 0x45;
    ip[1] = datagram.traffic_class;
    put16(ip + 2, static_cast<std::uint16_t>(ip_size + udp_size));
    put16(ip + 4, 0x1234);
    put16(ip + 6, datagram.dont_fragment ? 0x4000 : 0);
    ip[8] = datagram.ttl;
    ip[9] = 17;
    std::memcpy(ip + 12, datagram.source.address.bytes.data(), 4);
    std::memcpy(ip + 16, datagram.destination.address.bytes.data(), 4);
    put16(ip + 10, static_cast<std::uint16_t>(~plain_sum(ip, 20)));
  } else {
    ip[0] = static_cast<std::uint8_t>(0x60 | datagram.traffic_class >> 4);
    ip[1] = static_cast<std::uint8_t>(datagram.traffic_class << 4 | datagram.flow_label >> 16);
    put16(ip + 2, static_cast<std::uint16_t>(datagram.flow_label));
    put16(ip + 4, static_cast<std::uint16_t>(udp_size));
    ip[6] = 17;
    ip[7] = datagram.ttl;
    std::memcpy(ip + 8, datagram.source.address.bytes.data(), 16);
    std::memcpy(ip + 24, datagram.destination.address.bytes.data(), 16);
  }
  std::uint8_t* udp = ip + ip_size;
  put16(udp, datagram.source.port);
  put16(udp + 2, datagram.destination.port);
  put16(udp + 4, static_cast<std::uint16_t>(udp_size));
  if (!datagram.payload.empty())
    std::memcpy(udp + 8, datagram.payload.data(), datagram.payload.size());
  const std::uint16_t pseudo_sum = pseudo(datagram.source, datagram.destination, udp_size);
  if (datagram.sum == Datagram::Sum::kPartial) put16(udp + 6, pseudo_sum);
  if (datagram.sum == Datagram::Sum::kRight) {
    const auto sum = static_cast<std::uint16_t>(~fold_plain(pseudo_sum + plain_sum(udp, udp_size)));
    put16(udp + 6, sum == 0 ? 0xFFFF : sum);
  }
  return frame;
}

// As from a port: `frame` in `buffer`, with so many bytes of Ethernet padding behind it, and `room`
// before and after.
inline Packet arrived(std::vector<std::uint8_t>& buffer, std::span<const std::uint8_t> frame,
                      std::uint16_t room, std::size_t padding = 0) {
  buffer.assign(room + frame.size() + padding + room, 0xEE);
  std::copy(frame.begin(), frame.end(), buffer.begin() + room);
  Packet packet;
  packet.data = buffer.data() + room;
  packet.length = static_cast<std::uint32_t>(frame.size() + padding);
  packet.headroom = packet.tailroom = room;
  return packet;
}

inline std::vector<Listener> listeners_of_each_kind() {
  std::vector<Listener> all;
  for (const Address& address : {kServer4, kServer6})
    all.push_back({{address, kPort}});
  for (const Address& address : {kServer4, kServer6}) {
    all.push_back({.endpoint = {address, kStunOnlyPort}, .stun_only = true});
    all.push_back({.endpoint = {address, kTurnOnlyPort}, .turn_only = true});
  }
  for (const Address& address : {kServer4, kServer6}) {
    for (const std::uint16_t port : {kPort, kDtlsPort})
      all.push_back({.endpoint = {address, port}, .transport = Transport::kDtls});
  }
  return all;
}

class FlowWorld {
 public:
  // The allocation's client is of `client` family; it has relayed addresses of both, permissions
  // for both peers, and channels 0x4000 (IPv4 peer) and 0x4001 (IPv6 peer) if `channels`. The world
  // sees kRelay4 as `external`, where there is one. The client has come to the listener at `port`.
  explicit FlowWorld(Family client, bool channels = true,
                     std::optional<Address> external = std::nullopt, bool fast_lane = true,
                     std::uint16_t port = kPort)
      : client_{{client == Family::kIpv4 ? kClient4 : kClient6, kClientPort}},
        server_{client == Family::kIpv4 ? kServer4 : kServer6, port},
        stateless_({.realms = {realm_}}, nonces_) {
    setup_.ports.resize(1);
    setup_.ports[0].mac = {2, 0, 0, 0, 0, 1};
    setup_.fast_lane = fast_lane;
    setup_.strangers.sources = 64;
    setup_.strangers.key = kHashKey;
    setup_.requests.sources = 64;
    setup_.requests.key = kHashKey;
    setup_.listeners = listeners_of_each_kind();
    setup_.relayed = {{kRelay4, external}, {kRelay6, std::nullopt}};
    tables_ = std::make_unique<Tables>(TableLimits{1, 16, 64, 64}, setup_.relayed, setup_.listeners,
                                       kHashKey, std::vector<std::atomic<std::uint64_t>*>{});
    writer_ = std::make_unique<TableWriter>(*tables_, 0, qsbr_, hop_);
    allocation_ = add(client_, kRelayPort4, kRelayPort6);
    for (const Address& peer : {kPeer4, kPeer6}) {
      const auto permission = *writer_->publish_permission({allocation_, peer, kExpires});
      permissions_.push_back(permission);
      if (!channels) continue;
      const ChannelNumber number = peer.family == Family::kIpv4 ? 0x4000 : 0x4001;
      channels_.push_back(*writer_->publish_channel(
          {allocation_, permission, number, PeerEndpoint{{peer, kPeerPort}}, kExpires}));
    }
    pipeline_ = std::make_unique<Pipeline>(setup_, *tables_, hop_, policy_, tokens_, counters_);
  }

  AllocationSlot add(const ClientEndpoint& client, std::uint16_t port4, std::uint16_t port6) {
    AllocationFlow flow;
    flow.five_tuple = {client,
                       {client.address.family == Family::kIpv4 ? kServer4 : kServer6, server_.port},
                       Transport::kUdp};
    flow.relayed = {RelayEndpoint{{kRelay4, port4}}, RelayEndpoint{{kRelay6, port6}}};
    flow.expires_s = {kExpires, kExpires};
    return *writer_->publish_allocation(flow);
  }

  // Runs one frame; the packet refers to buffer_.
  Packet run(const std::vector<std::uint8_t>& frame, std::size_t padding = 0,
             Checksum checksum = Checksum::kVerify, bool reassembled = false,
             std::uint16_t room = kRoom) {
    Packet packet = arrived(buffer_, frame, room, padding);
    packet.checksum = checksum;
    packet.reassembled = reassembled;
    pipeline_->process(now_, {&packet, 1});
    return packet;
  }

  std::uint64_t drops(Drop reason) const {
    return counters_.drops[static_cast<std::size_t>(reason)].get();
  }

  static constexpr std::uint16_t kRoom = 128;
  static constexpr std::uint32_t kExpires = 2000;
  ClientEndpoint client_;
  Endpoint server_;
  Instant now_{1'000'000};
  Setup setup_;
  OneHop hop_;
  Qsbr qsbr_;
  const Realm realm_{.name = "example.org"};
  NonceKeeper nonces_{{.key = {1}}};
  TokenSealer tokens_{{2}};
  StatelessAnswers stateless_;
  WorkerPolicy policy_{stateless_};
  WorkerCounters counters_;
  std::unique_ptr<Tables> tables_;
  std::unique_ptr<TableWriter> writer_;
  std::unique_ptr<Pipeline> pipeline_;
  AllocationSlot allocation_{};
  std::vector<PermissionSlot> permissions_;
  std::vector<ChannelSlot> channels_;
  std::vector<std::uint8_t> buffer_;
};

// A frame read back and checked: nullopt if a length, a header or a checksum is wrong.
inline std::optional<Datagram> read(const Packet& packet) {
  const std::uint8_t* frame = packet.data;
  const std::uint16_t type = get16(frame + 12);
  const std::uint8_t* ip = frame + 14;
  const bool v4 = type == 0x0800;
  if (!v4 && type != 0x86DD) return std::nullopt;
  const std::size_t ip_size = v4 ? 20 : 40;
  if (packet.length < 14 + ip_size + 8) return std::nullopt;
  const std::size_t udp_size = packet.length - 14 - ip_size;
  Datagram datagram;
  const Family family = v4 ? Family::kIpv4 : Family::kIpv6;
  if (v4) {
    if (ip[0] != 0x45 || get16(ip + 2) != ip_size + udp_size || plain_sum(ip, 20) != 0xFFFF ||
        ip[9] != 17)
      return std::nullopt;
    datagram.ttl = ip[8];
    datagram.traffic_class = ip[1];
    datagram.dont_fragment = (get16(ip + 6) & 0x4000) != 0;
  } else {
    if (ip[0] >> 4 != 6 || get16(ip + 4) != udp_size || ip[6] != 17 ||
        (get16(ip + 2) | (ip[1] & 0x0F)) != 0)
      return std::nullopt;
    datagram.ttl = ip[7];
    datagram.traffic_class = static_cast<std::uint8_t>(ip[0] << 4 | ip[1] >> 4);
  }
  datagram.source.address = Address::from_bytes(family, ip + (v4 ? 12 : 8));
  datagram.destination.address = Address::from_bytes(family, ip + (v4 ? 16 : 24));
  const std::uint8_t* udp = ip + ip_size;
  datagram.source.port = get16(udp);
  datagram.destination.port = get16(udp + 2);
  if (get16(udp + 4) != udp_size) return std::nullopt;
  if (get16(udp + 6) == 0) {
    if (!v4) return std::nullopt;
    datagram.sum = Datagram::Sum::kZero;
  } else if (fold_plain(pseudo(datagram.source, datagram.destination, udp_size) +
                        plain_sum(udp, udp_size)) != 0xFFFF) {
    return std::nullopt;
  }
  datagram.payload.assign(udp + 8, udp + udp_size);
  return datagram;
}

}  // namespace turnpike::flow::test
