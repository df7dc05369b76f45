// Clients and peers on the relay's own host: what they send goes through the kernel alone and meets
// no NIC, so kernel sockets have it, on the listening addresses and on relayed transport addresses
// that have a peer here. To workers these are one more port. A thread of its own, which waits in
// epoll_wait alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/heartbeat.h"
#include "base/host_counters.h"
#include "base/keyed_hash.h"
#include "dataplane/stream_port.h"
#include "transport/host_door.h"
#include "transport/sockets.h"
#include "turnpike/stun.h"

namespace turnpike::transport {

class HostSockets {
 public:
  // Opens the listeners' sockets; one that can't be had is warned of, and its clients on this host
  // don't get in until it can. `key` is random. All that is given outlives it; `clock_ms` is
  // monotonic.
  HostSockets(const std::vector<Endpoint>& listeners, const HashKey& key,
              dataplane::StreamPort& port, HostDoor& door, std::uint64_t (*clock_ms)());
  ~HostSockets();
  HostSockets(const HostSockets&) = delete;
  HostSockets& operator=(const HostSockets&) = delete;

  void start();
  // Idempotent.
  void stop();

  const std::vector<std::string>& warnings() const { return warnings_; }
  // Any thread.
  const HostCounters& counters() const { return counters_; }
  const Heartbeat& heartbeat() const { return heartbeat_; }

 private:
  struct EndpointHash {
    HashKey key;
    std::size_t operator()(const Endpoint& endpoint) const;
  };
  struct Place {
    bool listens = false;
    Socket socket{-1};            // less than 0: it couldn't be had, and is tried again
    std::uint32_t overflows = 0;  // of the socket, as the kernel last told
  };
  using Places = std::unordered_map<Endpoint, Place, EndpointHash>;
  struct Datagrams;

  void run();
  void wait();
  // False: the socket can't be had for now; errno says why.
  bool open(Places::value_type& place);
  bool add(const Endpoint& endpoint, bool listens);
  void remove(const Endpoint& endpoint);
  void take_letters();
  void try_again();
  void read(int fd);
  void count_overflows(Place& place, std::uint32_t told);
  void hand_over(const Endpoint& from, const Endpoint& to, stun::Bytes message);
  bool take_frames();
  void send(stun::Bytes frame);

  const EndpointHash hash_;
  dataplane::StreamPort& port_;
  HostDoor& door_;
  std::uint64_t (*const clock_ms_)();
  Socket epoll_;
  Places places_;                                       // by what each is bound to
  std::unordered_map<int, Places::value_type*> bound_;  // by descriptor
  std::set<Endpoint> missing_;                          // those without a socket
  Endpoint tried_;                                      // the last of them that was
  std::uint64_t tries_again_ms_ = 0;
  std::uint64_t tells_again_ms_ = 0;      // that a socket can't be had
  std::unique_ptr<Datagrams> datagrams_;  // room for those that are read
  std::vector<HostDoor::Letter> letters_;
  std::vector<std::string> warnings_;
  bool more_ = false;  // frames are left, after this round's
  HostCounters counters_;
  Heartbeat heartbeat_;  // this thread: wo, others: ro
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace turnpike::transport
