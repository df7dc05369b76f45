// The addresses that this host has, on all of its interfaces, as they come and go. Control's
// thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::kernel {

class HostAddresses {
 public:
  struct Entry {
    Address address;
    std::string interface;

    bool operator==(const Entry&) const = default;
  };

  // Throws std::runtime_error when netlink fails.
  HostAddresses();
  ~HostAddresses();

  // For poll(2): readable when the kernel has said something.
  int fd() const;
  // Takes in what the kernel said. Whether any address came or went.
  bool poll();

  // In the kernel's order.
  const std::vector<Entry>& all() const;
  // Broadcast addresses of connected networks.
  const std::vector<Address>& broadcast() const;
  // Those of one interface, but for IPv6 link-local ones.
  std::vector<Address> of(const std::string& interface) const;
  // Whether packets to the address are this host's: it is on an interface, or a route of type
  // `local` says so.
  bool has(const Address& address) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace turnpike::kernel
