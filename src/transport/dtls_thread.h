// A DTLS thread: datagrams of clients come from workers, and go back to them to leave; in between
// they are messages, which workers get and send as frames of one more port. It has no socket, and
// sleeps on that port's bell alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/heartbeat.h"
#include "base/stream_counters.h"
#include "dataplane/datagram_rings.h"
#include "dataplane/stream_port.h"
#include "transport/closings.h"
#include "transport/dtls_server.h"
#include "transport/tls_context.h"
#include "turnpike/time.h"

namespace turnpike::transport {

class DtlsThread final : private DtlsOutlet {
 public:
  struct Place {
    Endpoint endpoint;
    ListenerIndex listener = 0;
  };
  struct Config {
    std::vector<Place> places;
    std::vector<CertificateFiles> certificates;  // at least one
    std::string client_authorities;              // as TlsContext has it
    DtlsServer::Config server;
  };
  struct Clocks {
    Instant (*engine)();         // the workers'
    std::uint64_t (*real_ms)();  // monotonic
  };

  // Throws std::runtime_error: which certificate, what is wrong with it. All else outlives it.
  DtlsThread(const Config& config, dataplane::StreamPort& port, dataplane::DatagramRings& rings,
             const Clocks& clocks);
  ~DtlsThread() override;
  DtlsThread(const DtlsThread&) = delete;
  DtlsThread& operator=(const DtlsThread&) = delete;

  void start();
  // Ends the thread, and all associations with it. Idempotent.
  void stop();

  const std::vector<std::string>& warnings() const { return warnings_; }
  // Control's thread: reads certificates and keys again, for associations that come from now on.
  // Throws what the constructor does, and then those before stay. Returns warnings.
  std::vector<std::string> reload();
  // Any thread.
  const StreamCounters& counters() const { return counters_; }
  const Heartbeat& heartbeat() const { return heartbeat_; }

 private:
  void run();
  void wait(Instant now);
  void take_context();
  void take_messages(Instant now);
  bool take_messages(Instant now, std::uint16_t worker);
  void take_known(Instant now);
  void take_strangers(Instant now);
  // True: it was a step of a handshake.
  bool take_datagram(Instant now, const rte_mbuf* frame);
  rte_mbuf* frame_with(std::uint16_t worker, const FrameHeader& header, stun::Bytes payload);

  bool message(const Ends& ends, const FrameHeader& header, stun::Bytes message) override;
  void datagram(const Ends& ends, const FrameHeader& header, const DtlsWay& way,
                stun::Bytes datagram) override;
  void closed(const Ends& ends) override { closings_.say(ends); }

  const Config config_;
  dataplane::StreamPort& port_;
  dataplane::DatagramRings& rings_;
  const Clocks clocks_;
  std::vector<std::string> warnings_;
  TicketKeys tickets_;
  std::mutex context_mutex_;                   // guards the next: control writes, this thread reads
  std::shared_ptr<const TlsContext> context_;  // none: nothing new
  StreamCounters counters_;
  Closings closings_;
  DtlsServer server_;
  std::uint16_t first_ = 0;  // the worker whose strangers come first
  Heartbeat heartbeat_;      // this thread: wo, others: ro
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace turnpike::transport
