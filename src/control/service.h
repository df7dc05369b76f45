// What a daemon has to do with whoever runs it: signals, and the service manager.
#pragma once

#include <cstdint>

namespace turnpike::control {

// To systemd, if it asked for it (sd_notify(3)'s protocol: one datagram): "READY=1".
void notify_manager(const char* state);

// SIGINT, SIGTERM and SIGHUP, as a descriptor; made before any thread, which all inherit the mask.
class Signals {
 public:
  // Throws std::runtime_error.
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // For poll(2): readable when one has come.
  int fd() const { return fd_; }
  // What those that wait ask for.
  enum class Wish : std::uint8_t { kNothing, kReload, kEnd };
  Wish take() const;

 private:
  int fd_ = -1;
};

}  // namespace turnpike::control
