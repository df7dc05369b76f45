// The setting is a list of ranges as text: ours is merged into it, and taken out again at the
// end.
#include "kernel/port_reservation.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

namespace turnpike::kernel {
namespace {

constexpr const char* kSetting = "/proc/sys/net/ipv4/ip_local_reserved_ports";

// The whole file, which is short; empty if there is none.
std::string read_file(const std::string& path) {
  std::string text;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  std::array<char, 4096> part{};
  ssize_t got = 0;
  while ((got = read(fd, part.data(), part.size())) > 0)
    text.append(part.data(), static_cast<std::size_t>(got));
  close(fd);
  return text;
}

// In one piece, as the kernel's settings want it.
bool write_file(const std::string& path, const std::string& text, int flags) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
  if (fd < 0) return false;
  const bool whole = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  return close(fd) == 0 && whole;
}

std::string read_setting() {
  const std::string text = read_file(kSetting);
  return text.substr(0, text.find('\n'));
}

// An empty list is written as a line without ports.
bool write_setting(const std::string& ports) {
  return write_file(kSetting, ports + "\n", 0);
}

// One for each network namespace, whose number the file name carries.
std::string note_path() {
  struct stat space {};
  if (stat("/proc/self/ns/net", &space) != 0) return "";
  return "/run/turnpike-reserved-ports-" + std::to_string(space.st_ino);
}

}  // namespace

PortReservation::PortReservation(std::uint16_t min, std::uint16_t max)
    : note_(note_path()), before_(read_setting()) {
  // Its lock is held as long as its writer lives: another relay of this namespace only adds, and
  // leaves putting back to nobody, since neither can tell what the other still needs.
  keeper_ = open(note_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  alone_ = keeper_ >= 0 && flock(keeper_, LOCK_EX | LOCK_NB) == 0;
  const std::string range = std::to_string(min) + "-" + std::to_string(max);
  if (!alone_) {
    holds_ = write_setting(before_.empty() ? range : before_ + "," + range);
    return;
  }
  // A note has two lines: what was there, and what its run made of it.
  const std::string note = read_file(note_);
  const std::size_t middle = note.find('\n');
  if (middle != std::string::npos && note.substr(middle + 1) == before_ + "\n")
    before_ = note.substr(0, middle);

  holds_ = write_setting(before_.empty() ? range : before_ + "," + range);
  if (!holds_) return;
  ours_ = read_setting();
  write_file(note_, before_ + "\n" + ours_ + "\n", O_CREAT | O_TRUNC);
}

PortReservation::~PortReservation() {
  if (alone_) {
    if (holds_ && read_setting() == ours_) write_setting(before_);
    // Who this process is now may not be able to unlink it.
    static_cast<void>(!ftruncate(keeper_, 0));
    unlink(note_.c_str());
  }
  if (keeper_ >= 0) close(keeper_);
}

}  // namespace turnpike::kernel
