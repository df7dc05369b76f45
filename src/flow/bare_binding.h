// Binding requests without attributes, over IPv4, to listeners that tell no more than the client's
// address: what keeps a NAT's mapping alive and what floods are made of. Answered in their own
// frame by the policy's pattern; what is unusual is left to the general way (StatelessAnswers).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "flow/here.h"
#include "flow/packet.h"
#include "flow/worker_policy.h"
#include "turnpike/listener.h"

namespace turnpike::flow {

class BareBinding {
 public:
  // Of UDP: the only one that answer() takes.
  static constexpr std::size_t kUdpSize = 28;

  // Keeps both. One worker's.
  BareBinding(const Here& here, const std::vector<Listener>& listeners);

  // `packet` is IPv4 without options or fragments and right up to UDP's length, kUdpSize, to
  // `listener`. True: it was such a request, and has verdict kTransmitBack; else it is as it was.
  bool answer(Packet& packet, ListenerIndex listener, const WorkerPolicy& policy) const;

 private:
  bool is_answerable(std::uint32_t source, const Broadcasts& broadcasts) const;

  const Here& here_;
  const std::vector<Listener>& listeners_;
};

}  // namespace turnpike::flow
