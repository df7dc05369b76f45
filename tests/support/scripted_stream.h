// A stream whose other side does what a test says, piece by piece.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "transport/stream.h"

namespace turnpike::test {

class ScriptedStream final : public transport::Stream {
 public:
  struct Script {
    std::deque<std::vector<std::uint8_t>> incoming;  // one read each; an empty one: nothing now
    std::deque<std::size_t> takes;                   // bytes of each write; none left: all
    std::vector<std::uint8_t> outgoing;              // what has been written
  };
  explicit ScriptedStream(Script& script) : script_(script) {}

  Result read(std::span<std::uint8_t> into, std::size_t& got) override {
    got = 0;
    if (script_.incoming.empty()) return Result::kAgain;
    std::vector<std::uint8_t>& piece = script_.incoming.front();
    got = std::min(piece.size(), into.size());
    std::copy_n(piece.begin(), got, into.begin());
    piece.erase(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(got));
    if (piece.empty()) script_.incoming.pop_front();
    return got == 0 ? Result::kAgain : Result::kDone;
  }
  Result write(std::span<const std::uint8_t> bytes, std::size_t& put) override {
    put = bytes.size();
    if (!script_.takes.empty()) {
      put = std::min(put, script_.takes.front());
      script_.takes.pop_front();
    }
    script_.outgoing.insert(script_.outgoing.end(), bytes.begin(),
                            bytes.begin() + static_cast<std::ptrdiff_t>(put));
    return put == 0 ? Result::kAgain : Result::kDone;
  }

 private:
  Script& script_;
};

}  // namespace turnpike::test
