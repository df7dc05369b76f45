// A message is its client, its number, the time, and a check of these, then zeros.
#include "media.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "stop.h"
#include "wire/headers.h"

namespace turnpike::streams {
namespace {

constexpr std::size_t kSequence = 4, kTime = 8, kCheck = 16, kEnd = 24;
constexpr std::uint64_t kMostOfOne = 64;  // messages of a client in one write
constexpr std::size_t kDatagrams = 64;
constexpr std::size_t kMostInOne = 60000;  // bytes that the kernel takes as one
constexpr std::uint64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kQuiet = 100 * kMillisecond;      // nothing is on its way any more
constexpr std::uint64_t kMostWait = 2000 * kMillisecond;  // for what is
constexpr std::uint64_t kTick = kMillisecond / 5;
// Where every client has something to send in each of these, sockets are looked at only so often:
// else the generator's calls are more than a server's. Latencies are as exact as that.
constexpr std::uint64_t kDenseTick = kMillisecond;
constexpr double kDense = 1000;  // messages of a client a second

std::size_t in_stream(std::size_t payload) {
  return (stun::kChannelDataHeaderSize + payload + 3) / 4 * 4;
}

std::uint64_t check_of(std::uint32_t client, std::uint32_t sequence, std::uint64_t time, bool up) {
  std::uint64_t x = (std::uint64_t{client} << 32 | sequence) ^ time * 0x9e3779b97f4a7c15ULL ^
                    static_cast<std::uint64_t>(up);
  x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9ULL;
  return x ^ (x >> 29);
}

}  // namespace

void DirectionTally::add(const DirectionTally& other) {
  sent += other.sent;
  delivered += other.delivered;
  reordered += other.reordered;
  corrupted += other.corrupted;
  wrong_receiver += other.wrong_receiver;
  in_time += other.in_time;
  latency_ns.add(other.latency_ns);
}

void Tally::add(const Tally& other) {
  seconds = std::max(seconds, other.seconds);
  up.add(other.up);
  down.add(other.down);
  refused += other.refused;
  skipped += other.skipped;
  idle += other.idle;
}

Media::Media(const Options& options, Loop& loop)
    : options_(options),
      loop_(loop),
      room_(kMostOfOne * in_stream(options.payload)),
      down_(kDatagrams) {}

void Media::write(std::uint8_t* payload, std::uint32_t client, std::uint32_t sequence,
                  bool up) const {
  const std::uint64_t time = now_ns();
  const std::uint64_t check = check_of(client, sequence, time, up);
  wire::store_be32(payload, client);
  wire::store_be32(payload + kSequence, sequence);
  std::memcpy(payload + kTime, &time, sizeof time);
  std::memcpy(payload + kCheck, &check, sizeof check);
}

void Media::see(Bytes payload, bool up, std::uint32_t client) {
  DirectionTally& tally = up ? tally_.up : tally_.down;
  std::uint64_t time = 0, check = 0;
  if (payload.size() >= kEnd) {
    std::memcpy(&time, payload.data() + kTime, sizeof time);
    std::memcpy(&check, payload.data() + kCheck, sizeof check);
  }
  const std::uint32_t of = payload.size() >= kEnd ? wire::load_be32(payload.data()) : 0;
  const std::uint32_t sequence =
      payload.size() >= kEnd ? wire::load_be32(payload.data() + kSequence) : 0;
  if (payload.size() != options_.payload || of >= loop_.clients().size() ||
      check != check_of(of, sequence, time, up)) {
    ++tally.corrupted;
    return;
  }
  if (!up && of != client) {
    ++tally.wrong_receiver;
    return;
  }
  std::uint32_t& expected =
      up ? loop_.clients()[of].expected_up : loop_.clients()[of].expected_down;
  const auto ahead = static_cast<std::int32_t>(sequence - expected);
  tally.reordered += ahead < 0;
  if (ahead >= 0) expected = sequence + 1;
  heard_ns_ = now_ns();
  // What a run before has sent tells of how fast the server is, and not of what it loses.
  tally.in_time += heard_ns_ < end_ns_;
  if (time < since_ns_) return;
  ++tally.delivered;
  tally.latency_ns.record(heard_ns_ - std::min(time, heard_ns_));
}

void Media::see_media_of_peer(std::uint32_t client, Bytes payload) {
  see(payload, false, client);
}

void Media::see_media_at_peer(Bytes payload) {
  see(payload, true, 0);
}

// room_ with `count` messages as they are in a stream.
void Media::fill(std::uint32_t number, std::uint32_t sequence, std::uint64_t count, bool up) {
  const std::size_t size = in_stream(options_.payload);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint8_t* const message = room_.data() + i * size;
    wire::store_be16(message, kChannel);
    wire::store_be16(message + 2, options_.payload);
    write(message + stun::kChannelDataHeaderSize, number, sequence + static_cast<std::uint32_t>(i),
          up);
  }
}

std::uint64_t Media::send_up(std::uint32_t number, std::uint64_t count) {
  Client& client = loop_.clients()[number];
  if (!is_ready(client.step)) return 0;
  const std::size_t size = in_stream(options_.payload);
  fill(number, client.next_up, count, true);
  std::uint64_t sent = 0;
  if (options_.security == Security::kDtls) {
    const std::size_t own = stun::kChannelDataHeaderSize + options_.payload;
    while (sent < count && loop_.send(client, Bytes(room_).subspan(sent * size, own)))
      ++sent;
  } else if (loop_.send(client, Bytes(room_).first(count * size))) {
    sent = count;
  }
  client.next_up += static_cast<std::uint32_t>(sent);
  tally_.up.sent += sent;
  return sent;
}

std::uint64_t Media::send_down(std::uint32_t number, std::uint64_t count) {
  Client& client = loop_.clients()[number];
  if (!is_ready(client.step)) return 0;
  if (FarEnds* const far = loop_.far_ends()) {
    fill(number, client.next_down, count, false);
    if (!far->send(number, Bytes(room_).first(count * in_stream(options_.payload)))) return 0;
    client.next_down += static_cast<std::uint32_t>(count);
    tally_.down.sent += count;
    return count;
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    if (waiting_ == kDatagrams) flush_down();
    down_[waiting_].client = number;
    write(down_[waiting_].bytes.data(), number, client.next_down++, false);
    ++waiting_;
  }
  return count;
}

// Those of one client that follow each other go to the kernel as one (UDP_SEGMENT): else each would
// cost the generator as much as it costs a server.
void Media::flush_down() {
  struct Run {
    std::array<std::uint8_t, sizeof(sockaddr_in6)> address;
    alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(std::uint16_t))> control;
    std::size_t messages = 0;
  };
  std::array<Run, kDatagrams> runs;
  std::array<iovec, kDatagrams> vectors;
  std::array<mmsghdr, kDatagrams> headers{};
  const std::size_t most = kMostInOne / options_.payload;
  std::size_t count = 0;
  for (std::size_t i = 0; i < waiting_; ++i) {
    vectors[i] = {down_[i].bytes.data(), options_.payload};
    if (i > 0 && down_[i].client == down_[i - 1].client && runs[count - 1].messages < most) {
      ++runs[count - 1].messages;
      continue;
    }
    Run& run = runs[count];
    run.messages = 1;
    msghdr& header = headers[count++].msg_hdr;
    header.msg_iov = &vectors[i];
    header.msg_name = run.address.data();
    header.msg_namelen = to_kernel(loop_.clients()[down_[i].client].relayed, run.address);
  }
  for (std::size_t i = 0; i < count; ++i) {
    msghdr& header = headers[i].msg_hdr;
    header.msg_iovlen = runs[i].messages;
    if (runs[i].messages == 1) continue;
    header.msg_control = runs[i].control.data();
    header.msg_controllen = runs[i].control.size();
    cmsghdr* const control = CMSG_FIRSTHDR(&header);
    control->cmsg_level = SOL_UDP;
    control->cmsg_type = UDP_SEGMENT;
    control->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
    std::memcpy(CMSG_DATA(control), &options_.payload, sizeof options_.payload);
  }
  std::size_t sent = 0, messages = 0;
  while (sent < count) {
    const int n =
        sendmmsg(loop_.peers(), &headers[sent], static_cast<unsigned>(count - sent), MSG_NOSIGNAL);
    if (n <= 0) break;
    for (int i = 0; i < n; ++i)
      messages += runs[sent++].messages;
  }
  tally_.down.sent += messages;
  tally_.refused += waiting_ - messages;
  waiting_ = 0;
}

// Evenly over all clients: as many of each in one write as fall to it.
void Media::send(std::uint64_t messages) {
  const std::uint64_t clients = loop_.clients().size();
  const bool both = options_.directions == Directions::kBoth;
  while (messages > 0) {
    const std::uint64_t share = std::max<std::uint64_t>(messages / (clients * (both ? 2 : 1)), 1);
    const std::uint64_t count = std::min({messages, share, kMostOfOne});
    const bool up = both ? next_is_up_ : options_.directions == Directions::kUp;
    const std::uint64_t sent = up ? send_up(next_, count) : send_down(next_, count);
    tally_.refused += count - sent;
    messages -= count;
    next_is_up_ = !next_is_up_;
    if (!both || next_is_up_) next_ = next_ + 1 == clients ? 0 : next_ + 1;
  }
  if (waiting_ > 0) flush_down();
}

void Media::go(double rate, double seconds) {
  const std::uint64_t began = now_ns();
  end_ns_ = began + static_cast<std::uint64_t>(seconds * 1e9);
  const std::size_t clients = loop_.clients().size();
  const std::uint64_t most = clients * 16 + 256;
  const bool dense = rate >= kDense * static_cast<double>(clients);
  std::uint64_t dealt = 0;
  for (std::uint64_t now = began; now < end_ns_ && !pktgen::stop_requested(); now = now_ns()) {
    std::uint64_t due = most;
    if (rate > 0)
      due = static_cast<std::uint64_t>(rate * static_cast<double>(now - began) / 1e9) - dealt;
    dealt += due;
    if (due > most) {
      tally_.skipped += due - most;
      due = most;
    }
    send(due);
    loop_.poll(rate > 0 && !dense && due < most ? kTick : 0, *this);
    if (dense && rate > 0) loop_.sleep_until(now + kDenseTick);
  }
}

void Media::warm_up(double rate, double seconds) {
  go(rate, seconds);
}

Tally Media::run(double rate, double seconds) {
  tally_ = {};
  since_ns_ = now_ns();
  const std::uint64_t slept = loop_.counts().slept_ns;
  go(rate, seconds);
  tally_.seconds = seconds;
  tally_.idle = static_cast<double>(loop_.counts().slept_ns - slept) /
                static_cast<double>(now_ns() - since_ns_);
  heard_ns_ = now_ns();
  for (std::uint64_t now = heard_ns_;
       now < end_ns_ + kMostWait && now - heard_ns_ < kQuiet && !pktgen::stop_requested();
       now = now_ns())
    loop_.poll(kTick, *this);
  return tally_;
}

}  // namespace turnpike::streams
