// Which clients are answered at all: a network's own, or all but those of a blocklist. Asked of
// requests alone: who has an allocation is known by it.
#pragma once

#include <utility>

#include "policy/prefix_set.h"
#include "turnpike/address.h"

namespace turnpike::policy {

class ClientRules {
 public:
  ClientRules() = default;  // everyone
  // Those of `allow`, or everyone if it is empty; but none of `deny`.
  ClientRules(PrefixSet allow, PrefixSet deny) : allow_(std::move(allow)), deny_(std::move(deny)) {}

  bool answer_everyone() const { return allow_.empty() && deny_.empty(); }
  // Any thread.
  bool answer(const Address& client) const {
    return (allow_.empty() || allow_.contains(client)) && !deny_.contains(client);
  }

 private:
  PrefixSet allow_, deny_;
};

}  // namespace turnpike::policy
