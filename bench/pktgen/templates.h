// Media frames, prebuilt. A template is what differs between flows: headers up to the payload and
// the payload's first eight bytes, in one arena. The rest of the payload is the same for all and
// already in the buffers of the pool `frames`, always at the same offset; so sending is one copy
// of one or two cache lines.
//
// A payload begins with the flow's number (and, in its top bit, the direction), then a marker:
// zero, or that a time stamp follows. A stamp leaves the UDP checksum as it is: the marker's two
// words add up to nothing, and a word behind the time makes up for it.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "options.h"
#include "plan.h"
#include "port.h"
#include "session.h"
#include "wire/headers.h"

namespace turnpike::pktgen {

enum class Direction : std::uint8_t { kUp, kDown };  // from clients, from peers

constexpr std::size_t kPayloadAt = 256;  // from the start of a buffer
constexpr std::size_t kPrefix = 8;
constexpr std::size_t kStamp = 18;  // number, marker, time, what makes up for it
constexpr std::uint32_t kDownBit = 0x80000000;
constexpr std::uint32_t kStampMarker = 0x5AA5A55A;
constexpr std::size_t kMostPayloadBytes = 1408;

// What payloads hold behind their first bytes.
const std::array<std::uint8_t, 2 * kMostPayloadBytes>& filler();
// Writes it into all buffers of `frames`.
void prefill(rte_mempool* frames);

constexpr std::uint32_t tag_of(std::uint32_t flow, Direction direction) {
  return flow | (direction == Direction::kDown ? kDownBit : 0);
}

enum class Framing : std::uint8_t { kChannelData, kSendIndication, kPlain, kBinding };

class Templates {
 public:
  // Which frames: media of one or both directions, or Binding requests of all clients.
  enum class Content : std::uint8_t { kMedia, kBinding };
  struct Which {
    bool up, down;
    Content content = Content::kMedia;
  };

  // Flows that are not set up are left out.
  Templates(const Options& options, const Plan& plan, const Session& session,
            const Port& client_port, const Port& peer_port, Which which);

  std::uint32_t size() const { return count_; }
  std::size_t stride() const { return stride_; }
  const std::uint8_t* at(std::uint32_t index) const { return arena_.data() + index * stride_; }

  static std::size_t frame_size(const std::uint8_t* at) { return load<std::uint16_t>(at); }
  static std::size_t head_size(const std::uint8_t* at) { return at[2]; }
  static Framing framing(const std::uint8_t* at) { return static_cast<Framing>(at[3]); }
  static std::size_t payload_size(const std::uint8_t* at) { return load<std::uint16_t>(at + 4); }
  static Family family(const std::uint8_t* frame) {
    return wire::load_be16(frame + wire::ethernet::kType) == wire::ether_type::kIpv4
               ? Family::kIpv4
               : Family::kIpv6;
  }

  // Makes `mbuf` the frame of the template at `at`, whose arena's stride is `kStride`.
  template <std::size_t kStride>
  static void fill(rte_mbuf* mbuf, const std::uint8_t* at) {
    std::memcpy(static_cast<std::uint8_t*>(mbuf->buf_addr) + kPayloadAt + kPrefix - kStride, at,
                kStride);
    mbuf->data_off = static_cast<std::uint16_t>(kPayloadAt - head_size(at));
    mbuf->data_len = static_cast<std::uint16_t>(frame_size(at));
    mbuf->pkt_len = mbuf->data_len;
  }
  void fill_any(rte_mbuf* mbuf, const std::uint8_t* at) const {
    stride_ == 64 ? fill<64>(mbuf, at) : fill<128>(mbuf, at);
  }

  static std::uint8_t* payload(rte_mbuf* mbuf) {
    return static_cast<std::uint8_t*>(mbuf->buf_addr) + kPayloadAt;
  }
  // Gives the frame in `mbuf` a payload of another size; checksums are the caller's.
  static void resize(rte_mbuf* mbuf, const std::uint8_t* at, std::size_t payload_size);
  static void stamp(rte_mbuf* mbuf, std::uint64_t cycles);

 private:
  template <typename T>
  static T load(const std::uint8_t* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::uint32_t frames_of(std::uint32_t flow) const;
  void add(std::uint32_t flow, Direction direction);
  std::size_t write_framing(std::uint8_t* out, std::uint32_t flow, Framing framing,
                            std::size_t payload_size) const;

  const Options& options_;
  const Plan& plan_;
  const Session& session_;
  const Port& client_port_;
  const Port& peer_port_;
  Which which_;
  std::vector<std::uint8_t> arena_;
  std::size_t stride_ = 64;
  std::uint32_t count_ = 0;
};

}  // namespace turnpike::pktgen
