// A value that one thread replaces whole under others that never wait: each reads the one or the
// next, and never half of either. Readers take it once a round, which is also their word that they
// have let go of the one before (qsbr.h); what nobody holds any more is freed by its publisher. So
// readers neither lock nor allocate nor free. Who sleeps for a moment between rounds need not
// leave: an old value only waits as long.
//
// A reader sees a part of the value and needs to know of no other: workers and engines read one
// value, each its own part.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/qsbr.h"

namespace turnpike {

// What publisher and readers share.
struct PublishedPointer {
  alignas(64) std::atomic<const void*> now{nullptr};  // publisher: wo, readers: ro
  Qsbr readers;
};

// Readers are told apart by number, below Qsbr::kMaxReaders; each is one thread at a time.
template <typename Part>
class PublishedPart {
 public:
  using PartOf = const Part& (*)(const void* whole);
  PublishedPart(PublishedPointer& pointer, PartOf part_of)
      : pointer_(&pointer), part_of_(part_of) {}

  // The newest. It stays as it is until the same reader takes again, or leaves.
  const Part& take(std::size_t reader) const {
    pointer_->readers.quiescent(reader);
    return part_of_(pointer_->now.load(std::memory_order_acquire));
  }
  // It holds nothing from now on, and nothing waits for it, until it takes again.
  void leave(std::size_t reader) const { pointer_->readers.offline(reader); }

 private:
  PublishedPointer* pointer_;
  PartOf part_of_;
};

// The publisher's end; one thread's. Readers have left before it ends.
template <typename T>
class Published {
 public:
  explicit Published(std::unique_ptr<const T> first) : now_(std::move(first)) {
    pointer_.now.store(now_.get(), std::memory_order_release);
  }
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  // What readers are given; the whole outlives them. `kMember` points to a member of T.
  template <auto kMember>
  auto part() {
    using Part = std::remove_cvref_t<decltype(std::declval<const T&>().*kMember)>;
    return PublishedPart<Part>(pointer_, [](const void* whole) -> const Part& {
      return static_cast<const T*>(whole)->*kMember;
    });
  }

  void publish(std::unique_ptr<const T> next) {
    old_.emplace_back();  // what may fail comes first
    pointer_.now.store(next.get(), std::memory_order_release);
    old_.back() = {std::exchange(now_, std::move(next)), pointer_.readers.start()};
    reclaim();
  }
  // Frees what nobody holds any more; returns how many still wait. To be called now and then.
  std::size_t reclaim() {
    std::erase_if(old_, [this](const Old& old) { return pointer_.readers.passed(old.token); });
    return old_.size();
  }

 private:
  struct Old {
    std::unique_ptr<const T> value;
    Qsbr::Token token = 0;  // once it has passed, nobody reads the value any more
  };

  std::unique_ptr<const T> now_;
  PublishedPointer pointer_;
  std::vector<Old> old_;
};

}  // namespace turnpike
