// What the program frees it wipes first: passwords on their way from a file or the command line to
// their keys (RFC 8656 §6 forbids to store them), keys of users, allocations and requests that have
// ended. So no freed block, swapped page or crash dump has them, whichever library held the copy.
// Workers allocate nothing between receive and transmit and pay nothing for it; what DPDK and
// OpenSSL hold has allocators of their own.
#include <malloc.h>
#include <string.h>

#include <cstdlib>
#include <new>

namespace {

void wipe_and_free(void* block) noexcept {
  if (block == nullptr) return;
  explicit_bzero(block, malloc_usable_size(block));
  std::free(block);
}

}  // namespace

// The forms of arrays end in these.
void operator delete(void* block) noexcept {
  wipe_and_free(block);
}
void operator delete(void* block, std::size_t /*size*/) noexcept {
  wipe_and_free(block);
}
void operator delete(void* block, std::align_val_t /*alignment*/) noexcept {
  wipe_and_free(block);
}
void operator delete(void* block, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept {
  wipe_and_free(block);
}
