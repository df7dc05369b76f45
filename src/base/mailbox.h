// Letters from any number of threads to one, a bounded number of them: for what is rare beside
// packets, and from threads that may take a lock for a moment.
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

namespace turnpike {

template <typename Letter>
class Mailbox {
 public:
  explicit Mailbox(std::size_t most) : most_(most) { letters_.reserve(most); }

  // Any thread. False: it is full, and the letter is not in it. Whoever puts wakes the reader.
  bool put(const Letter& letter) {
    const std::scoped_lock lock(mutex_);
    if (letters_.size() == most_) return false;
    letters_.push_back(letter);
    return true;
  }
  // The reader's: all that is there, each writer's in the order in which he put them, in place of
  // what `out` held.
  void take(std::vector<Letter>& out) {
    out.clear();
    const std::scoped_lock lock(mutex_);
    letters_.swap(out);
    letters_.reserve(most_);
  }
  bool empty() const {
    const std::scoped_lock lock(mutex_);
    return letters_.empty();
  }

 private:
  const std::size_t most_;
  mutable std::mutex mutex_;
  std::vector<Letter> letters_;
};

}  // namespace turnpike
