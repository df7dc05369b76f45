// TCP allocations in the fake world: somebody who has no sockets, but remembers what he was asked
// for, and a client that comes by TCP.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "turn_world.h"

namespace turnpike::test {

class FakeStreams : public PeerStreams {
 public:
  bool open(StreamRelay relay, const RelayEndpoint& at) override {
    if (full) return false;
    relays[relay] = at;
    return true;
  }
  bool connect(PeerStream stream, StreamRelay relay, const Endpoint& peer) override {
    if (full) return false;
    EXPECT_TRUE(relays.contains(relay));
    streams[stream] = peer;
    last = stream;
    return true;
  }
  bool bind(PeerStream stream, const FiveTuple& client, stun::Bytes answer) override {
    if (full) return false;
    EXPECT_TRUE(streams.contains(stream));
    bound[stream] = client;
    return say(client, answer);
  }
  bool say(const FiveTuple& client, stun::Bytes message) override {
    if (full) return false;
    said.push_back({client, {message.begin(), message.end()}});
    return true;
  }
  void close(PeerStream stream) override {
    EXPECT_EQ(streams.erase(stream), 1U) << "closed twice";
    bound.erase(stream);
  }
  void close(StreamRelay relay) override { EXPECT_EQ(relays.erase(relay), 1U) << "closed twice"; }

  struct Said {
    FiveTuple client;
    std::vector<std::uint8_t> bytes;
  };
  std::map<StreamRelay, RelayEndpoint> relays;
  std::map<PeerStream, Endpoint> streams;
  std::map<PeerStream, FiveTuple> bound;
  std::vector<Said> said;
  PeerStream last{};
  bool full = false;
};

class StreamServer : public TurnServer {
 protected:
  explicit StreamServer(const ServerConfig& config = config_with()) : TurnServer(config) {
    world_.streams = &streams_;
  }

  FiveTuple stream(std::uint16_t port) const {
    FiveTuple who = from(port);
    who.transport = Transport::kTcp;
    return who;
  }
  static void tcp(MessageWriter& writer) { writer.add_u8_rfffu(Attribute::kRequestedTransport, 6); }

  // What the client at `port` gets: at once, or from whoever has its stream.
  Answer ask_by(const FiveTuple& who, Method method, const Fill& fill = {}) {
    const auto request = build(method, who, fill);
    const RequestToken token{++token_};
    const std::size_t before = streams_.said.size();
    server_->handle(now_, who, request, token, came_to_);
    EXPECT_EQ(
        world_.replies.count(token) + world_.discards.count(token) + world_.put_offs.count(token),
        1U);
    if (world_.replies.contains(token)) return read(world_.replies[token]);
    if (streams_.said.size() == before) return {};
    EXPECT_EQ(streams_.said.back().client, who);
    return read(streams_.said.back().bytes);
  }
  static Answer read(const std::vector<std::uint8_t>& bytes) {
    Answer answer(bytes);
    EXPECT_EQ(MessageView::parse(answer.bytes, answer.view), stun::ParseError::kNone);
    EXPECT_TRUE(answer.view.message_class() == Class::kIndication || answer.view.complete());
    return answer;
  }
  Answer said() const { return read(streams_.said.back().bytes); }

  void tell(PeerStreamEvent::Kind kind, PeerStream of) { server_->heed(now_, {kind, {}, of, {}}); }
  // Whether what is asked for succeeds at once.
  Answer open(std::uint16_t port, const Fill& more = {}) {
    Answer refused = ask_by(stream(port), Method::kAllocate, [&](MessageWriter& writer) {
      tcp(writer);
      if (more) more(writer);
    });
    if (!refused.bytes.empty()) return refused;
    EXPECT_EQ(opened_ + 1, streams_.relays.size());
    const auto relay = std::find_if(streams_.relays.begin(), streams_.relays.end(),
                                    [&](const auto& one) { return !known_.contains(one.first); });
    known_.insert(relay->first);
    relay_ = relay->first;
    ++opened_;
    server_->heed(now_, {PeerStreamEvent::Kind::kOpened, relay_, {}, {}});
    return said();
  }
  Answer begin_connect(std::uint16_t port, const Endpoint& peer) {
    return ask_by(stream(port), Method::kConnect, [&](MessageWriter& writer) {
      writer.add_xor_address(Attribute::kXorPeerAddress, peer);
    });
  }
  Answer connect(std::uint16_t port, const Endpoint& peer) {
    Answer refused = begin_connect(port, peer);
    if (!refused.bytes.empty()) return refused;
    tell(PeerStreamEvent::Kind::kConnected, streams_.last);
    return said();
  }
  static TokenSealer::ConnectionId id_of(const Answer& answer) {
    TokenSealer::ConnectionId id{};
    const auto found = answer.view.find(Attribute::kConnectionId);
    EXPECT_TRUE(found && found->value.size() == id.size());
    if (found) std::copy(found->value.begin(), found->value.end(), id.begin());
    return id;
  }
  Answer bind_stream(std::uint16_t port, const TokenSealer::ConnectionId& id) {
    return ask_by(stream(port), Method::kConnectionBind,
                  [&](MessageWriter& writer) { writer.add(Attribute::kConnectionId, id); });
  }
  Answer permit_stream(std::uint16_t port, const Address& peer) {
    return ask_by(stream(port), Method::kCreatePermission, [&](MessageWriter& writer) {
      writer.add_xor_address(Attribute::kXorPeerAddress, {peer, 0});
    });
  }
  Answer refresh_stream(std::uint16_t port, std::uint32_t lifetime_s) {
    return ask_by(stream(port), Method::kRefresh,
                  [&](MessageWriter& writer) { writer.add_u32(Attribute::kLifetime, lifetime_s); });
  }
  // A connection of a peer's to the last relay; whether it is there afterwards.
  bool arrive(const Endpoint& peer) {
    const PeerStream made{kArrivedStream | ++arrivals_};
    streams_.streams[made] = peer;
    streams_.last = made;
    server_->heed(now_, {PeerStreamEvent::Kind::kArrived, relay_, made, peer});
    return streams_.streams.contains(made);
  }
  std::uint64_t arrivals_told(PeerArrival what) const {
    return server_->counters().arrivals[static_cast<std::size_t>(what)].get();
  }

  FakeStreams streams_;
  StreamRelay relay_{};
  std::set<StreamRelay> known_;
  std::size_t opened_ = 0;
  std::uint64_t arrivals_ = 0;
};

}  // namespace turnpike::test
