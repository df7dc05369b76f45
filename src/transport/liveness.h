// For how long a client is waited for, by what has come of him and what he was told.
#pragma once

#include <algorithm>
#include <cstdint>

#include "turnpike/stun.h"
#include "wire/headers.h"

namespace turnpike::transport {

class Liveness {
 public:
  struct Patience {
    std::uint64_t handshake_ms, idle_ms;
  };
  explicit Liveness(std::uint64_t now_ms) : since_ms_(now_ms), heard_ms_(now_ms) {}

  // A whole message of his has come.
  void heard(std::uint64_t now_ms) {
    begun_ = true;
    heard_ms_ = now_ms;
  }
  // `message` goes to him. Who has an allocation may be silent for as long as he has it.
  void told(stun::Bytes message, std::uint64_t now_ms) {
    constexpr std::uint16_t kAllocateSuccess = 0x0103, kRefreshSuccess = 0x0104;
    if (message.size() < stun::kHeaderSize) return;
    const std::uint16_t type = wire::load_be16(message.data());
    if (type != kAllocateSuccess && type != kRefreshSuccess) return;
    stun::MessageView view;
    if (stun::MessageView::parse(message, view) != stun::ParseError::kNone) return;
    if (const auto lifetime = view.u32(stun::Attribute::kLifetime))
      allocated_until_ms_ = now_ms + std::uint64_t{*lifetime} * 1000;
  }

  bool has_begun() const { return begun_; }
  bool was_allocated() const { return allocated_until_ms_ != 0; }
  // When he is to go if nothing more comes.
  std::uint64_t ends_at(const Patience& patience) const {
    if (!begun_) return since_ms_ + patience.handshake_ms;
    return std::max(allocated_until_ms_, heard_ms_ + patience.idle_ms);
  }

 private:
  std::uint64_t since_ms_;
  std::uint64_t heard_ms_;
  std::uint64_t allocated_until_ms_ = 0;
  bool begun_ = false;
};

}  // namespace turnpike::transport
