// One question to the kernel, as `ip route get` asks it. Control's thread.
#pragma once

#include <memory>
#include <optional>

#include "turnpike/address.h"

namespace turnpike::kernel {

class RouteQuery {
 public:
  struct Answer {
    bool local = false;       // packets to there are this host's own
    bool by_gateway = false;  // else the destination is on the link
    unsigned interface = 0;
  };

  // Throws std::runtime_error when netlink fails.
  RouteQuery();
  ~RouteQuery();

  // `through`: an interface's number, whose routes alone are asked for; 0: any. Nothing: no route.
  std::optional<Answer> ask(const Address& destination, unsigned through = 0) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace turnpike::kernel
