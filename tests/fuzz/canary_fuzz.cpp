// A fuzz target with a planted fault: one byte is read beyond a heap buffer where an input begins
// with "TURN". It must fail within seconds; if it doesn't, the fuzzers' silence means nothing.
#include <cstddef>
#include <cstdint>
#include <memory>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  if (data[0] == 'T') {
    if (data[1] == 'U') {
      if (data[2] == 'R') {
        if (data[3] == 'N') {
          const auto buffer = std::make_unique<std::uint8_t[]>(size);
          const volatile std::uint8_t* beyond = buffer.get() + size;
          static_cast<void>(*beyond);
        }
      }
    }
  }
  return 0;
}
