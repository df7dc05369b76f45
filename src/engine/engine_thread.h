// A shard's thread: takes requests from the workers' rings, lets its Server answer them, and is the
// world that Server asks for keys, verdicts, random numbers and a place for flows. It never blocks
// on I/O: when nothing comes it spins a little, then sleeps until a worker brings a request,
// somebody wakes it, or it has something due.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/heartbeat.h"
#include "base/published.h"
#include "base/qsbr.h"
#include "engine/engine_policy.h"
#include "engine/notes.h"
#include "engine/random_source.h"
#include "tables/tables.h"
#include "turnpike/listener.h"
#include "turnpike/request.h"
#include "turnpike/server.h"

namespace turnpike::engine {

class EngineThread final : public ServerHost {
 public:
  // What time it is. Any thread.
  struct Clock {
    Instant (*now)();                         // the server's, which tests may hurry
    std::uint64_t (*real_ms)();               // of heartbeats; monotonic
    std::uint64_t (*real_ns_until)(Instant);  // 0 if it has come
  };
  // What shards share, or are given; all of it outlives them.
  struct World {
    EnginePort& port;
    Clock clock;
    bool (*enter_sandbox)();  // the thread's first act; whether its system calls are filtered now
    const std::vector<Listener>& listeners;
    flow::Tables& tables;
    Qsbr& qsbr;
    flow::NextHopResolver& next_hops;
    PublishedPart<EnginePolicy> policy;
    std::size_t policy_reader;  // its number
    const NonceKeeper& nonces;
    const TokenSealer& tokens;
    QuotaLedger& quotas;
    PeerStreamPort* peers = nullptr;  // the shard's; nullptr: no TCP allocations
  };
  EngineThread(const ServerConfig& config, const World& world);
  ~EngineThread() override;

  // Makes the thread, which waits for start(). `urgent`: a request won't wait until what else runs
  // on the engine's core has had its turn; takes CAP_SYS_NICE. Not where workers poll on that core:
  // a flood of requests would hold them up. Returns whether the thread is as urgent as asked for.
  bool make_thread(bool urgent);
  void start();
  // Ends the thread. Idempotent.
  void stop();

  // Any thread. For what comes by another way than a request: a change of routes, of keys.
  void wake() { world_.port.wake(); }
  const ServerCounters& counters() const { return server_.counters(); }
  const Heartbeat& heartbeat() const { return heartbeat_; }

  // Any thread: whether its system calls are not filtered.
  bool unsandboxed() const { return unsandboxed_.load(std::memory_order_relaxed); }

  // Control's thread: a refused login since the last call, if there was one.
  std::optional<LoginNote> take_login_note() { return login_notes_.take(); }
  // Control's thread: an allocation that a payload rule has ended, if one is left to be told of.
  std::optional<EndNote> take_end_note() { return end_notes_.take(); }
  // Control's thread: how many more there were since the last call than are left to be told of.
  std::uint64_t take_untold_ends() { return end_notes_.take_lost(); }
  // Any thread: whether a credential came whose end is more than ten years away.
  bool saw_endless_credential() const { return endless_.load(std::memory_order_relaxed); }

  void reply(RequestToken token, stun::Bytes message) override;
  void discard(RequestToken token, Discard reason) override;
  KeyState find_keys(const UserName& user, RealmIndex realm, KeyPurpose purpose,
                     UserKeys& out) override;
  void unauthorized(const ClientEndpoint& client, Unauthorized reason) override;
  PeerVerdict check_peer(RealmIndex realm, const Address& relayed, const Address& peer) override;
  bool is_on_link(const Address& relayed, const Address& peer) override;
  IdentityVerdict judge_identity(const IdentityAttributes& attributes) override;
  std::uint32_t random_below(std::uint32_t bound) override;
  FlowSink& flows() override { return writer_; }
  PeerStreams* peer_streams() override { return world_.peers; }
  void put_off(RequestToken token) override;
  PeerVerdict check_stream_peer(RealmIndex realm, const Address& relayed,
                                const Endpoint& peer) override;

 private:
  void run();
  bool serve();  // whether there was anything to do
  bool heed_notices(Instant now);
  bool heed_peers(Instant now);
  void heed(Instant now, const Notice& notice);
  void give_way(bool slept);
  void sleep(Instant next_tick);

  World world_;
  const std::uint8_t shard_;
  const EnginePolicy* policy_;  // of this round
  flow::TableWriter writer_;
  RandomSource random_;
  Server server_;
  std::vector<PeerStreamEvent> events_;  // of peers, from next_event_ on
  std::size_t next_event_ = 0;
  LoginNotes login_notes_;
  EndNotes end_notes_;
  std::uint64_t expired_for_s_ = 0;       // the credential that find_keys() refused last
  std::atomic<bool> endless_{false};      // this thread: wo, control: ro
  std::atomic<bool> unsandboxed_{false};  // this thread: wo, control: ro
  Heartbeat heartbeat_;                   // this thread: wo, others: ro
  bool urgent_ = false;                   // since make_thread()
  std::uint64_t rested_ms_ = 0;           // this thread
  std::atomic<bool> started_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace turnpike::engine
