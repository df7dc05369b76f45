// The conversation with the kernel by rtnetlink: it tells of every change, and now and then it is
// asked for everything anew. Neither ever waits: poll() reads a bounded part of what has come.
//
// One socket for both, because then all comes in the order in which it happened: a row of a dump
// that was written before a change is read before it, so that no change is lost to a dump.
#pragma once

#include <libmnl/libmnl.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::kernel {

class KernelDialogue {
 public:
  using Clock = std::chrono::steady_clock;

  class Listener {
   public:
    virtual ~Listener() = default;
    // Everything will be told anew: links, rules, routes, neighbours.
    virtual void begins() = 0;
    virtual void tells(const nlmsghdr* message) = 0;
    virtual void has_told_all() = 0;
    // Something has changed; also while everything is told.
    virtual void changes(const nlmsghdr* message) = 0;
  };

  // Throws std::runtime_error when netlink fails.
  explicit KernelDialogue(Listener& listener);
  ~KernelDialogue();
  KernelDialogue(const KernelDialogue&) = delete;
  KernelDialogue& operator=(const KernelDialogue&) = delete;

  int fd() const { return mnl_socket_get_fd(socket_); }
  // What is known may be wrong: everything is to be told anew, soon.
  void doubt() { doubtful_ = true; }
  // Reads some `bytes` of what has come, and begins a new telling when one is due.
  void poll(Clock::time_point now, std::size_t bytes = kBytesPerPoll);
  // Why the last telling was given up; empty: it wasn't.
  const std::string& failure() const { return failure_; }

  // Makes the kernel resolve, or confirm, a neighbour, as if it had a packet for it; and forget
  // one.
  void look_for(std::uint32_t interface, const Address& address);
  void forget(std::uint32_t interface, const Address& address);

 private:
  static constexpr std::size_t kBytesPerPoll = 262144;

  void read(std::size_t bytes, Clock::time_point now);
  void take(const nlmsghdr* message, Clock::time_point now);
  void take_answer(const nlmsghdr* message, Clock::time_point now);
  void ask(std::size_t phase, Clock::time_point now);
  void end(Clock::time_point now);
  void give_up(const std::string& why, Clock::time_point now);
  void send_neighbour(std::uint16_t type, std::uint32_t interface, const Address& address);

  Listener& listener_;
  mnl_socket* socket_ = nullptr;
  std::vector<char> buffer_;
  std::uint32_t sequence_ = 0;
  std::uint32_t dumping_ = 0;  // the sequence number of the dump that is going on; 0: none
  std::size_t phase_ = 0;      // which of the dumps
  bool doubtful_ = true;
  Clock::time_point began_, heard_, ended_;
  Clock::duration pause_{};  // after the last telling
  std::string failure_;
};

}  // namespace turnpike::kernel
