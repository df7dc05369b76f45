// What an engine has to tell the operator, beside the counters: refused credentials, one of them
// now and then, with its host, so that who comes back for weeks with a dead credential can be
// found; and whose allocation a rule has ended. Few places, which are free again when control has
// read them: a flood of guesses makes no flood of lines.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "turnpike/server.h"

namespace turnpike::engine {

// From the engine's thread to control's.
template <typename Note, std::size_t kPlaces>
class Notes {
 public:
  // The engine's thread; lost, and counted, where there is no place.
  void put(const Note& note) {
    const std::size_t written = written_.load(std::memory_order_relaxed);
    if (written - read_.load(std::memory_order_acquire) == kPlaces) {
      lost_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    notes_[written % kPlaces] = note;
    written_.store(written + 1, std::memory_order_release);
  }
  // Control's thread.
  std::optional<Note> take() {
    const std::size_t read = read_.load(std::memory_order_relaxed);
    if (read == written_.load(std::memory_order_acquire)) return std::nullopt;
    const Note note = notes_[read % kPlaces];
    read_.store(read + 1, std::memory_order_release);
    return note;
  }
  // Control's thread: how many were lost since the last call.
  std::uint64_t take_lost() { return lost_.exchange(0, std::memory_order_relaxed); }

 private:
  std::array<Note, kPlaces> notes_;      // from read_ on control: ro, the others engine: wo
  std::atomic<std::size_t> written_{0};  // engine: rw, control: ro
  std::atomic<std::size_t> read_{0};     // control: rw, engine: ro
  std::atomic<std::uint64_t> lost_{0};   // both: rw
};

struct LoginNote {
  ClientEndpoint client;
  Unauthorized reason{};
  std::uint64_t expired_for_s = 0;  // with Unauthorized::kExpired
};
using LoginNotes = Notes<LoginNote, 1>;

// A payload rule has ended the client's allocation.
struct EndNote {
  ClientEndpoint client;
  std::uint16_t rule = 0;
};
using EndNotes = Notes<EndNote, 64>;

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
