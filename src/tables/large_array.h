// An array whose size is known at the start and whose elements are looked up at random: on 2 MiB
// pages where the kernel has some (transparent huge pages), because at a million allocations the
// translation of addresses costs as much as the memory itself.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

namespace turnpike::flow {

template <typename T>
class LargeArray {
 public:
  static_assert(std::is_trivially_destructible_v<T>);

  // `size` elements, value-initialised. Throws std::bad_alloc.
  explicit LargeArray(std::size_t size) : size_(size) {
    const std::size_t bytes = size * sizeof(T);
    const std::size_t alignment = bytes < kPage ? std::max<std::size_t>(alignof(T), 64) : kPage;
    const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
    void* memory = std::aligned_alloc(alignment, std::max(whole, alignment));
    if (memory == nullptr) throw std::bad_alloc();
    // A kernel without them says so, and nothing is lost.
    if (alignment == kPage) madvise(memory, whole, MADV_HUGEPAGE);
    elements_.reset(static_cast<T*>(memory));
    std::uninitialized_value_construct_n(elements_.get(), size);
  }

  T& operator[](std::size_t i) { return elements_.get()[i]; }
  const T& operator[](std::size_t i) const { return elements_.get()[i]; }
  T* get() { return elements_.get(); }
  const T* get() const { return elements_.get(); }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kPage = std::size_t{2} << 20;
  struct Free {
    void operator()(T* elements) const { std::free(elements); }
  };

  std::size_t size_;
  std::unique_ptr<T, Free> elements_;
};

}  // namespace turnpike::flow
