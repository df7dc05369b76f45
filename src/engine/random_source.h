// Random numbers from the kernel's generator.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace turnpike::engine {

// Uniform numbers from the kernel's generator, a page at a time.
class RandomSource {
 public:
  // In [0, bound); bound is at least 1.
  std::uint32_t below(std::uint32_t bound);

 private:
  std::uint32_t next();

  std::array<std::uint32_t, 64> words_{};
  std::size_t used_ = 64;
};

// Fills `out` from the kernel's generator. Throws std::runtime_error.
void fill_random(std::span<std::uint8_t> out);

}  // namespace turnpike::engine
