// The order is what this is for: a worker that hears of an end too late ends what came after it.
#include "transport/closings.h"

#include <algorithm>

namespace turnpike::transport {

void Closings::say(const Ends& ends) {
  const std::uint16_t worker = worker_of(ends);
  if (!waits(worker) && tell(worker, ends)) return;
  std::vector<Ends>& waiting = waiting_[worker];
  if (std::find(waiting.begin(), waiting.end(), ends) == waiting.end()) waiting.push_back(ends);
}

bool Closings::waits() const {
  return std::any_of(waiting_.begin(), waiting_.end(),
                     [](const std::vector<Ends>& of_worker) { return !of_worker.empty(); });
}

void Closings::retry() {
  for (std::size_t worker = 0; worker < waiting_.size(); ++worker) {
    std::vector<Ends>& waiting = waiting_[worker];
    const auto untold = std::find_if(waiting.begin(), waiting.end(), [&](const Ends& ends) {
      return !tell(static_cast<std::uint16_t>(worker), ends);
    });
    waiting.erase(waiting.begin(), untold);
  }
}

bool Closings::tell(std::uint16_t worker, const Ends& ends) {
  rte_mbuf* const frame = port_.take(worker, 0);
  if (frame == nullptr) return false;
  flow::Packet& packet = dataplane::notes_of(frame).packet;
  packet.source = ends.client;
  packet.listener = ends.listener;
  frame->data_len = 0;
  frame->pkt_len = 0;
  port_.submit(worker, frame);
  return true;
}

}  // namespace turnpike::transport
