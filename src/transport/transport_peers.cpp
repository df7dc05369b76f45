// What the sockets of TCP allocations need of the thread's clients (peer_sockets.h).
#include "transport/transport.h"

namespace turnpike::transport {

Connection* Transport::find(const FiveTuple& five_tuple) {
  const auto found = connections_.find({five_tuple.client, five_tuple.server, 0});
  return found == connections_.end() ? nullptr : found->second.get();
}

// An answer or indication of the server's, written at once: it lasts no longer than this call.
void Transport::say(Connection& connection, stun::Bytes message) {
  if (connection.peer != 0) return counters_.lost_unowned.add();  // what goes to it is data
  connection.send(message);
  if (connection.flush(room_, clock_ms_()) == Connection::State::kOver)
    end(connection, connection.end());
}

}  // namespace turnpike::transport
