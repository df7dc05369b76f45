// Nothing here waits: what a socket doesn't take is kept, up to a limit, and then lost by whole
// messages.
#include "transport/connection.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "turnpike/stun.h"
#include "wire/headers.h"
#include "wire/stream_framing.h"

namespace turnpike::transport {
namespace {

constexpr int kReadsPerTurn = 4;  // of one connection, before the others have theirs
// For answers, which are never lost, beyond what media may wait in; whoever has no allocation has
// this alone.
constexpr std::size_t kForAnswers = 65536;
constexpr std::uint16_t kResponse = 0x0100;  // the class bit of success and error responses
constexpr std::uint16_t kConnectionBind = 0x000B, kConnectionBindError = 0x011B;

std::uint16_t type_of(stun::Bytes message) {
  return message.size() < stun::kHeaderSize || message[0] >= 0x40 ? std::uint16_t{0}
                                                                  : wire::load_be16(message.data());
}

}  // namespace

Connection::Connection(int fd, const Ends& ends, std::unique_ptr<Stream> stream, bool proxied,
                       const Bounds& bounds, std::uint64_t now_ms, StreamCounters& counters)
    : fd_(fd),
      ends_(ends),
      header_(ends.client, ends.server),
      stream_(std::move(stream)),
      bounds_(bounds),
      counters_(counters),
      awaits_proxy_(proxied),
      life_(now_ms) {}

Connection::~Connection() {
  if (fd_ >= 0) ::close(fd_);
}

Connection::State Connection::over(StreamEnd why) {
  end_ = why;
  return State::kOver;
}

Connection::State Connection::over(Stream::Result result) {
  switch (result) {
    case Stream::Result::kClosed:
      return over(StreamEnd::kByClient);
    case Stream::Result::kFailed:
      return over(StreamEnd::kTls);
    default:
      return over(StreamEnd::kReset);
  }
}

Connection::State Connection::receive(std::span<std::uint8_t> room, std::uint64_t now_ms,
                                      const Taker& take) {
  now_ms_ = now_ms;
  tried_ = true;
  if (!open_) {
    const Stream::Result result = stream_->shake_hands();
    if (result == Stream::Result::kAgain) return State::kOpen;
    if (result != Stream::Result::kDone) return over(result);
    open_ = true;
    const SSL* const tls = stream_->tls();
    tls_ = tls != nullptr;
    counters_.open[tls_].add();
    if (tls_) {
      counters_.handshakes[SSL_version(tls) >= TLS1_3_VERSION].add();
      if (SSL_session_reused(tls) == 1) counters_.resumed.add();
    }
  }
  for (int reads = 0; reads < kReadsPerTurn; ++reads) {
    if (binding_) return State::kOpen;
    // What a stop has left is cut before more is read.
    std::copy(rest_.begin(), rest_.end(), room.begin());
    std::size_t have = rest_.size();
    const bool has_read = !stopped_;
    if (has_read) {
      std::size_t got = 0;
      const Stream::Result result = stream_->read(room.subspan(have), got);
      if (result == Stream::Result::kAgain) return State::kOpen;
      if (result != Stream::Result::kDone) return over(result);
      counters_.bytes_in[tls_].add(got);
      have += got;
    }
    std::size_t used = 0;
    const Cut cut = cut_messages(room.first(have), take, used);
    if (cut == Cut::kStrange) return over(StreamEnd::kNotStun);
    rest_.assign(room.begin() + static_cast<std::ptrdiff_t>(used),
                 room.begin() + static_cast<std::ptrdiff_t>(have));
    stopped_ = cut == Cut::kStopped;
    if (stopped_) break;
    if (has_read && !reads_to_end && !stream_->may_have_more()) return State::kOpen;
  }
  return binding_ ? State::kOpen : State::kAgain;
}

Connection::Cut Connection::cut_messages(stun::Bytes bytes, const Taker& take, std::size_t& used) {
  using Whole = wire::StreamMessage::State;
  while (used < bytes.size()) {
    const std::size_t left = bytes.size() - used;
    if (skip_ > 0) {
      const std::size_t now = std::min(skip_, left);
      skip_ -= now;
      used += now;
      continue;
    }
    if (binding_) return Cut::kStopped;
    const wire::StreamMessage message = wire::first_message(bytes.subspan(used), life_.has_begun());
    if (message.state == Whole::kStrange) return Cut::kStrange;
    if (message.size > bounds_.message) {
      counters_.lost_too_long.add();
      skip_ = message.taken;
      continue;
    }
    if (message.state == Whole::kMore) break;
    if (!take(*this, bytes.subspan(used, message.size))) return Cut::kStopped;
    counters_.messages_in.add();
    life_.heard(now_ms_);
    binding_ = type_of(bytes.subspan(used, message.size)) == kConnectionBind;
    skip_ = message.taken;  // the padding may come later
  }
  return Cut::kAll;
}

void Connection::send(stun::Bytes message) {
  life_.told(message, now_ms_);
  if (type_of(message) == kConnectionBindError) binding_ = false;
  batch_.push_back(message);
}

Connection::State Connection::flush(std::span<std::uint8_t> room, std::uint64_t now_ms) {
  now_ms_ = now_ms;
  State state = waiting_.empty() ? State::kOpen : write_waiting();
  std::size_t next = 0;
  while (state == State::kOpen && next < batch_.size() && waiting_.empty())
    state = write_batch(room, next);
  for (; state == State::kOpen && next < batch_.size(); ++next)
    state = make_wait(batch_[next]);
  batch_.clear();
  return state;
}

// From message `next` on, as many as `room` holds, in one write; what the socket doesn't take of
// one that has been begun waits.
Connection::State Connection::write_batch(std::span<std::uint8_t> room, std::size_t& next) {
  std::size_t filled = 0, end = next;
  for (; end < batch_.size(); ++end) {
    const std::size_t size = wire::size_in_stream(batch_[end]);
    if (filled + size > room.size()) break;
    std::memcpy(room.data() + filled, batch_[end].data(), batch_[end].size());
    std::memset(room.data() + filled + batch_[end].size(), 0, size - batch_[end].size());
    filled += size;
  }
  std::size_t put = 0;
  const State state = write(room.first(filled), put);
  if (state == State::kOver) return state;
  std::size_t at = 0;
  for (; next < end; ++next) {
    if (at >= put && put < filled) break;
    at += wire::size_in_stream(batch_[next]);
    counters_.messages_out.add();
    if (at > put)
      waiting_.assign(room.begin() + static_cast<std::ptrdiff_t>(put),
                      room.begin() + static_cast<std::ptrdiff_t>(at));
  }
  if (put < filled && waiting_.empty() && next < batch_.size()) return make_wait(batch_[next++]);
  return State::kOpen;
}

// As much as the socket takes.
Connection::State Connection::write(stun::Bytes bytes, std::size_t& put) {
  if (!open_) return State::kOpen;
  while (put < bytes.size()) {
    std::size_t some = 0;
    const Stream::Result result = stream_->write(bytes.subspan(put), some);
    if (result == Stream::Result::kAgain) break;
    if (result != Stream::Result::kDone) return over(result);
    counters_.writes.add();
    counters_.bytes_out[tls_].add(some);
    put += some;
  }
  return State::kOpen;
}

// Behind what waits already: media while there is room, answers even when there is none.
Connection::State Connection::make_wait(stun::Bytes message) {
  const std::size_t size = wire::size_in_stream(message);
  const bool answer = (type_of(message) & kResponse) != 0;
  const std::size_t media = life_.was_allocated() ? bounds_.waiting : 0;
  const std::size_t most = media + (answer ? kForAnswers : 0);
  if (waiting_.size() - waiting_from_ + size > most) {
    if (answer) return over(StreamEnd::kSlow);
    counters_.lost_to_slow.add();
    return State::kOpen;
  }
  counters_.messages_out.add();
  waiting_.insert(waiting_.end(), message.begin(), message.end());
  waiting_.resize(waiting_.size() + size - message.size());
  return State::kOpen;
}

Connection::State Connection::write_waiting() {
  std::size_t put = 0;
  const State state = write(stun::Bytes(waiting_).subspan(waiting_from_), put);
  waiting_from_ += put;
  if (waiting_from_ == waiting_.size()) {
    waiting_from_ = 0;
    // Its memory is for those who are slow.
    std::vector<std::uint8_t>().swap(waiting_);
  } else if (waiting_from_ > bounds_.waiting / 2) {
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(waiting_from_));
    waiting_from_ = 0;
  }
  return state;
}

std::vector<std::uint8_t> Connection::become_data() {
  return std::exchange(rest_, {});
}

Stream::Result Connection::read_data(std::span<std::uint8_t> into, std::size_t& got) {
  const Stream::Result result = stream_->read(into, got);
  if (result == Stream::Result::kDone) counters_.bytes_in[tls_].add(got);
  return result;
}

Stream::Result Connection::write_data(std::span<const std::uint8_t> bytes, std::size_t& put) {
  put = 0;
  if (!waiting_.empty()) return Stream::Result::kAgain;
  const Stream::Result result = stream_->write(bytes, put);
  if (result == Stream::Result::kDone) counters_.bytes_out[tls_].add(put);
  return result;
}

void Connection::close() {
  stream_->close();
}

}  // namespace turnpike::transport
