// The way between shards and the transport thread that has the sockets of TCP allocations: letters
// in bounded boxes, and a bell after each. What must not be lost, that something is to be closed or
// is over, waits outside where a box is full, in its place among the others; there is never more of
// it than there are sockets.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

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
};

class PeerMail {
 public:
  // `bell`: the transport thread's. Of each shard its port, which outlives this.
  PeerMail(const std::vector<EnginePort*>& shards, dataplane::Doorbell& bell);

  // A shard's end, for its thread.
  PeerStreamPort& port(std::size_t shard) { return *ports_[shard]; }

  // The transport thread's. Commands that wait, in the place of what `out` held.
  void receive(std::vector<PeerCommand>& out) { commands_.take(out); }
  bool has_commands() const { return !commands_.empty(); }
  // To the shard that gave the number of what it tells of.
  void tell(const PeerStreamEvent& event);
  // False: there is no room now.
  bool try_tell(const PeerStreamEvent& event);
  // Once a round: what has found no room.
  void flush();

 private:
  static constexpr std::size_t kCommands = 4096;
  static constexpr std::size_t kEvents = 1024;  // of each shard

  class Port final : public PeerStreamPort {
   public:
    Port(PeerMail& mail, EnginePort& engine) : mail_(mail), engine_(engine) {}
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
    std::deque<PeerStreamEvent> late_events_;  // the transport thread's own
  };
  Port& port_of(const PeerStreamEvent& event);

  dataplane::Doorbell& bell_;
  Mailbox<PeerCommand> commands_{kCommands};
  std::vector<std::unique_ptr<Port>> ports_;
};

}  // namespace turnpike::transport
