// The broadcast addresses of connected networks, which are of IPv4, as they come and go: control
// replaces them whole, workers read them without waiting.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/qsbr.h"
#include "turnpike/address.h"

namespace turnpike::flow {

class Broadcasts {
 public:
  Broadcasts() : Broadcasts(std::vector<Address>{}) {}
  explicit Broadcasts(const std::vector<Address>& first) : owned_(words_of(first)) {
    now_.store(owned_.get(), std::memory_order_relaxed);
  }
  Broadcasts(const Broadcasts&) = delete;
  Broadcasts& operator=(const Broadcasts&) = delete;

  // A reader of the Qsbr that replace() is given.
  bool has(std::uint32_t on_wire) const {
    const Words& words = *now_.load(std::memory_order_acquire);
    return std::find(words.begin(), words.end(), on_wire) != words.end();
  }
  bool has(const Address& address) const {
    return address.family == Family::kIpv4 && has(word_of(address));
  }

  // One thread.
  void replace(const std::vector<Address>& next, Qsbr& readers) {
    const auto passed = [&](const Old& old) { return readers.passed(old.token); };
    old_.erase(std::remove_if(old_.begin(), old_.end(), passed), old_.end());
    auto words = words_of(next);
    now_.store(words.get(), std::memory_order_release);
    old_.push_back({std::exchange(owned_, std::move(words)), readers.start()});
  }

 private:
  using Words = std::vector<std::uint32_t>;  // as on the wire
  struct Old {
    std::unique_ptr<const Words> words;
    Qsbr::Token token;  // once it has passed, nobody reads them any more
  };

  static std::uint32_t word_of(const Address& address) {
    std::uint32_t word = 0;
    std::memcpy(&word, address.bytes.data(), sizeof word);
    return word;
  }
  static std::unique_ptr<const Words> words_of(const std::vector<Address>& addresses) {
    auto words = std::make_unique<Words>();
    for (const Address& address : addresses) {
      if (address.family == Family::kIpv4) words->push_back(word_of(address));
    }
    return words;
  }

  std::unique_ptr<const Words> owned_;
  std::atomic<const Words*> now_{nullptr};
  std::vector<Old> old_;
};

// Where no network is connected.
inline const Broadcasts kNoBroadcasts;

}  // namespace turnpike::flow
