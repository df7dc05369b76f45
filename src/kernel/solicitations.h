// Which neighbours the kernel is asked to look for. Those in use are kept alive, and a gateway that
// is missing is asked for again and again: of both there are few. But a client chooses its peers,
// so that of addresses on the link only a few are looked for at a time, fewer for one allocation,
// and one that didn't answer has to wait longer each time. What the kernel has noted of one that
// didn't answer is taken back: its table is the host's.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "kernel/hop_table.h"

namespace turnpike::kernel {

class Solicitations {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kAtOnce = 64;     // addresses on the link that are looked for
  static constexpr std::size_t kOfOneOwner = 4;  // of them
  static constexpr auto kPatience = std::chrono::seconds(2);
  static constexpr auto kKeepAlive = std::chrono::seconds(5);
  static constexpr auto kAskGatewayAgain = std::chrono::milliseconds(200);
  static constexpr int kMostDoublings =
      4;  // of kPatience, before one that is silent is asked again

  struct Question {
    enum class Kind : std::uint8_t { kLook, kForget };
    Kind kind = Kind::kLook;
    std::uint32_t interface = 0;
    Address address;
  };

  explicit Solicitations(std::uint32_t hops) : state_(hops) {}

  // Looks at the next `most` hops; under the lock of the table. What it returns is valid until the
  // next call.
  const std::vector<Question>& tend(HopTable& hops, Clock::time_point now, std::uint32_t most);

 private:
  struct State {
    std::uint32_t generation = 0;  // of the hop that the rest is about
    int silent = 0;                // how often it didn't answer
    Clock::time_point asked;
    Clock::time_point not_before;
  };
  struct Pending {
    std::uint32_t hop = 0;
    std::uint32_t generation = 0;
    std::uint32_t owner = 0;
    Clock::time_point until;
    Question question;
  };

  State& state_of(const HopTable& hops, std::uint32_t hop);
  void end_pending(HopTable& hops, Clock::time_point now);
  void keep_up(HopTable& hops, std::uint32_t hop, Clock::time_point now);
  bool look_for(HopTable& hops, std::uint32_t hop, Clock::time_point now);

  std::vector<State> state_;  // by hop
  std::vector<Pending> pending_;
  std::vector<Question> questions_;
  std::uint32_t any_cursor_ = 1, on_link_cursor_ = 1;
};

}  // namespace turnpike::kernel
