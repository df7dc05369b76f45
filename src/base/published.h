// A value that one thread replaces whole and others read: each reader keeps the one it last took
// and looks for a newer once a round, so that what it has in hand never changes under it. Taking is
// one atomic load while there is nothing new; only a change costs a lock. Not for workers: the last
// reader of a value frees it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace turnpike {

template <typename T>
class Published {
 public:
  explicit Published(T first) : value_(std::make_shared<const T>(std::move(first))) {}
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  void publish(T next) {
    auto made = std::make_shared<const T>(std::move(next));
    const std::scoped_lock lock(mutex_);
    value_.swap(made);
    generation_.fetch_add(1, std::memory_order_release);
  }

  // One thread's. What it is of outlives it.
  class Reader {
   public:
    explicit Reader(const Published& source) : source_(source) { take(); }

    void refresh() {
      if (source_.generation_.load(std::memory_order_acquire) != generation_) take();
    }
    const T& operator*() const { return *value_; }
    const T* operator->() const { return value_.get(); }

   private:
    void take() {
      const std::scoped_lock lock(source_.mutex_);
      generation_ = source_.generation_.load(std::memory_order_relaxed);
      value_ = source_.value_;
    }

    const Published& source_;
    std::uint64_t generation_ = 0;
    std::shared_ptr<const T> value_;
  };

 private:
  mutable std::mutex mutex_;  // guards value_, and that it and its generation change together
  std::shared_ptr<const T> value_;
  std::atomic<std::uint64_t> generation_{0};
};

}  // namespace turnpike
