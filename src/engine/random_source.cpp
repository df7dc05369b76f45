// getrandom(2) is asked for many numbers at once: a request draws several, and asking is a
// system call.
#include "engine/random_source.h"

#include <sys/random.h>

#include <cerrno>
#include <stdexcept>

namespace turnpike::engine {

void fill_random(std::span<std::uint8_t> out) {
  while (!out.empty()) {
    const ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw std::runtime_error("the kernel gives no random numbers (getrandom)");
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

std::uint32_t RandomSource::next() {
  if (used_ == words_.size()) {
    fill_random({reinterpret_cast<std::uint8_t*>(words_.data()), sizeof words_});
    used_ = 0;
  }
  return words_[used_++];
}

std::uint32_t RandomSource::below(std::uint32_t bound) {
  // The lowest 2^32 mod bound values are drawn again: each remainder is then equally likely.
  const std::uint32_t refused = (0U - bound) % bound;
  std::uint32_t word = next();
  while (word < refused)
    word = next();
  return word % bound;
}

}  // namespace turnpike::engine
