// The way between shards and the transport threads, the first of which has the sockets of TCP
// allocations until they are bound: letters in bounded boxes, and a bell after each. What must not
// be lost, that something is bound, is to be closed or is over, waits outside where a box is full,
// in its place among the others; there is never more of it than there are sockets.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/client_spread.h"
#include "base/mailbox.h"
#include "dataplane/doorbell.h"
#include "turnpike/peer_streams.h"
#include "turnpike/request.h"

namespace turnpike::transport {

struct PeerCommand {
  enum class Kind : std::uint8_t { kOpen, kConnect, kBind, kSay, kCloseStream, kCloseRelay };
  Kind kind{};
  StreamRelay relay{};
  PeerStream stream{};
  Endpoint address;                   // kOpen: the relayed one; kConnect: the peer's
  FiveTuple client;                   // kBind, kSay
  std::vector<std::uint8_t> message;  // kBind, kSay
  int peer_fd = -1;                   // kBind that is passed on: the stream's socket
};

class PeerMail {
 public:
  // `bells`: of each transport thread. Of each shard its port. All of these outlive it.
  PeerMail(const std::vector<EnginePort*>& shards, const std::vector<dataplane::Doorbell*>& bells,
           const ClientSpread& spread = {});
  ~PeerMail();

  // A shard's end, for its thread.
  PeerStreamPort& port(std::size_t shard) { return *ports_[shard]; }

  // A transport thread's, by its number. Commands that wait, in the place of what `out` held.
  void receive(std::size_t thread, std::vector<PeerCommand>& out) {
    threads_[thread]->commands.take(out);
  }
  bool has_commands(std::size_t thread) const { return !threads_[thread]->commands.empty(); }
  // To the shard that gave the number of what it tells of.
  void tell(std::size_t thread, const PeerStreamEvent& event);
  // False: there is no room now.
  bool try_tell(std::size_t thread, const PeerStreamEvent& event);
  // Once a round: what has found no room.
  void flush(std::size_t thread);

  std::size_t threads() const { return threads_.size(); }
  std::size_t thread_of(const FiveTuple& client) const {
    return spread_.thread_of(client.client, threads_.size());
  }
  // The first thread's: to another one, behind all that it has passed on to that one before.
  void pass_on(std::size_t thread, const PeerCommand& command);

  // Of all threads together, and on their way between them.
  std::uint64_t sockets() const {
    return static_cast<std::uint64_t>(sockets_.load(std::memory_order_relaxed));
  }
  void add_sockets(std::int64_t more) { sockets_.fetch_add(more, std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kCommands = 4096;
  static constexpr std::size_t kEvents = 1024;  // of each shard

  class Port final : public PeerStreamPort {
   public:
    Port(PeerMail& mail, EnginePort& engine, std::size_t threads)
        : mail_(mail), engine_(engine), late_events_(threads) {}
    bool open(StreamRelay relay, const RelayEndpoint& at) override;
    bool connect(PeerStream stream, StreamRelay relay, const Endpoint& peer) override;
    bool bind(PeerStream stream, const FiveTuple& client, stun::Bytes answer) override;
    bool say(const FiveTuple& client, stun::Bytes message) override;
    void close(PeerStream stream) override;
    void close(StreamRelay relay) override;
    void receive(std::vector<PeerStreamEvent>& out) override;

   private:
    friend class PeerMail;
    bool put(const PeerCommand& command);
    void put_surely(const PeerCommand& command);
    bool put_event(const PeerStreamEvent& event);

    PeerMail& mail_;
    EnginePort& engine_;
    std::deque<PeerCommand> late_;  // the shard's own
    Mailbox<PeerStreamEvent> events_{kEvents};
    std::vector<std::deque<PeerStreamEvent>> late_events_;  // each transport thread's own
  };
  struct Thread {
    explicit Thread(dataplane::Doorbell& of_thread) : bell(of_thread) {}
    bool put(const PeerCommand& command);
    dataplane::Doorbell& bell;
    Mailbox<PeerCommand> commands{kCommands};
    std::deque<PeerCommand> late;  // the first thread's own
  };
  // Whose box a shard's command is for.
  Thread& thread_for(const PeerCommand& command);
  Port& port_of(const PeerStreamEvent& event);

  const ClientSpread spread_;
  std::atomic<std::int64_t> sockets_{0};
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<std::unique_ptr<Port>> ports_;
};

}  // namespace turnpike::transport
