// Keeps the kernel from handing relay ports to sockets that ask for any port: their answers would
// come to the relay (ip_local_reserved_ports, which IPv6 and UDP follow too). A setting of the
// network namespace, shared with the operator: it is added to, and put back at the end.
#pragma once

#include <cstdint>
#include <string>

namespace turnpike::kernel {

class PortReservation {
 public:
  // Adds the ports from `min` to `max`, both included, to what is reserved; puts right first what a
  // killed run left.
  PortReservation(std::uint16_t min, std::uint16_t max);
  // Puts back what was there, unless somebody has changed the setting meanwhile.
  ~PortReservation();
  PortReservation(const PortReservation&) = delete;
  PortReservation& operator=(const PortReservation&) = delete;

  // False where the setting can't be written, as in a container: the relay works without, but a
  // warning is in order.
  bool holds() const { return holds_; }

 private:
  std::string note_;  // path of the file that tells the next run what was there
  std::string before_;
  std::string ours_;
  int keeper_ = -1;     // the note, locked
  bool alone_ = false;  // no other relay's reservation in this namespace
  bool holds_ = false;
};

}  // namespace turnpike::kernel
