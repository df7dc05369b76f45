// What an engine tells the operator about refused credentials, beside the counters: now and then
// one of them, with its host, so that who comes back for weeks with a dead credential can be found.
// One place, which is free again when control has read it: a flood of guesses makes no flood of
// lines.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "turnpike/server.h"

namespace turnpike::engine {

struct LoginNote {
  ClientEndpoint client;
  Unauthorized reason{};
  std::uint64_t expired_for_s = 0;  // with Unauthorized::kExpired
};

class LoginNotes {
 public:
  // The engine's thread; lost where the last one has not been read yet.
  void put(const LoginNote& note) {
    if (full_.load(std::memory_order_acquire)) return;
    note_ = note;
    full_.store(true, std::memory_order_release);
  }
  // Control's thread.
  std::optional<LoginNote> take() {
    if (!full_.load(std::memory_order_acquire)) return std::nullopt;
    const LoginNote note = note_;
    full_.store(false, std::memory_order_release);
    return note;
  }

 private:
  LoginNote note_;  // engine: wo while not full_, control: ro while full_
  std::atomic<bool> full_{false};
};

// Names the host and the reason, never the user: a name is whatever its sender likes.
inline std::string describe(const LoginNote& note) {
  const std::string who = "refused " + note.client.to_string() + ": ";
  switch (note.reason) {
    case Unauthorized::kUnknownUser:
      return who + "there is no such user";
    case Unauthorized::kWrongKey:
      return who + "wrong password, or a secret that isn't ours";
    case Unauthorized::kExpired:
      return who + "the credential ended " + std::to_string(note.expired_for_s) + " s ago";
    case Unauthorized::kNoTimestamp:
      return who + "the user's name has no time in it, in whole seconds";
    case Unauthorized::kWrongRealm:
      return who + "another realm";
    case Unauthorized::kCount:
      break;
  }
  return who + "unauthorized";
}

}  // namespace turnpike::engine
