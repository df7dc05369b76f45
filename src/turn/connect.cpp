// TCP allocations (RFC 6062 §5). Whoever has the sockets is asked and tells later, so that
// Allocate, Connect and ConnectionBind are answered by PeerStreams, in the order in which things
// happen there.
#include "turn/server_impl.h"

namespace turnpike {

using stun::Attribute;
using stun::Class;
using stun::MessageWriter;
using State = PeerConnection::State;

namespace {

constexpr Refusal kTooMuchUnderWay{508, "Too Many Connections", Limit::kStreams};
// Whose it is, if anybody's, would help only who guesses.
constexpr Refusal kNoSuchConnection{400, "No Such Connection"};

}  // namespace

// RFC 6062 §5.1.
Refusal Server::Impl::streams_refused(const Request& request) const {
  if (host_.peer_streams() == nullptr) return {442};
  if (request.five_tuple.transport != Transport::kTcp) return {400, "TCP Allocation By Datagrams"};
  for (const Attribute datagrams :
       {Attribute::kDontFragment, Attribute::kEvenPort, Attribute::kReservationToken}) {
    if (request.message.has(datagrams)) return {400, "Attribute Of UDP Allocations"};
  }
  // Its data connections would stay where they are (docs/protocol.md 33).
  if (request.message.has(Attribute::kMobilityTicket)) return {405};
  return {};
}

// RFC 6062 §5.1: peers can connect once the client knows where to.
void Server::Impl::await_relays(const Request& request, Allocation& allocation) {
  if (!book_.open_relays(allocation)) {
    end(request.now, allocation.slot);
    return refuse(request, kTooMuchUnderWay);
  }
  allocation.streams->asked = request.question();
  host_.put_off(request.token);
}

bool Server::Impl::tell(const FiveTuple& client, const Question& question, const Refusal& refusal) {
  if (refusal.limit != Limit::kNone) count(refusal.limit);
  MessageWriter writer = begin(question, Class::kError);
  add_refusal(writer, refusal);
  return host_.peer_streams()->say(client, finish(question, writer, refusal.code, true));
}

void Server::Impl::opened(Instant now, Allocation& allocation, bool well) {
  StreamAllocation& streams = *allocation.streams;
  if (!streams.asked || streams.opening == 0) return;
  const AllocationSlot slot = allocation.slot;
  if (!well) {
    tell(allocation.five_tuple, *streams.asked,
         {508, "Relayed Transport Address Not Free", Limit::kPorts});
    end(now, slot);
    return;
  }
  if (--streams.opening > 0) return;
  const Question question = *std::exchange(streams.asked, std::nullopt);
  MessageWriter writer = begin(question, Class::kSuccess);
  write_success(writer, allocation, allocation.five_tuple.client);
  if (!host_.peer_streams()->say(allocation.five_tuple, finish(question, writer, 0, true)))
    end(now, slot);
}

// RFC 6062 §5.2.
void Server::Impl::connect(Request& request, Allocation& allocation) {
  if (!allocation.streams) return refuse(request, {400, "Allocation Is Not TCP"});
  const auto given = request.message.xor_address(Attribute::kXorPeerAddress);
  if (!given) {
    return refuse(request, request.message.has(Attribute::kXorPeerAddress)
                               ? Refusal{400, "Peer Address Malformed"}
                               : Refusal{400, "Peer Address Missing"});
  }
  if (given->port == 0) return refuse(request, {400, "Peer Port Is Zero"});
  const PeerEndpoint peer{{public_of(given->address), given->port}};
  if (const Refusal refusal = may_connect(request, allocation, peer))
    return refuse(request, refusal);
  const PeerStream stream = book_.new_stream();
  const StreamRelay relay = *allocation.streams->relays[family_index(peer.address.family)];
  if (!host_.peer_streams()->connect(stream, relay, wire_of(peer))) {
    book_.give_connection(allocation);
    return refuse(request, kTooMuchUnderWay);
  }
  book_.add(allocation, {.stream = stream,
                         .peer = peer,
                         .state = State::kConnecting,
                         .due_s = expiry_s(request.now, config_.connect_timeout_s),
                         .asked = request.question()});
  host_.put_off(request.token);
}

// Takes room for it, or refuses with nothing changed.
Refusal Server::Impl::may_connect(const Request& request, const Allocation& allocation,
                                  const PeerEndpoint& peer) {
  const StreamAllocation& streams = *allocation.streams;
  if (streams.connections.contains(peer)) return {446};
  const std::size_t family = family_index(peer.address.family);
  if (!streams.relays[family]) return {443};
  if (const Refusal refusal = refused_by(host_.check_stream_peer(
          allocation.owner.account.realm, allocation.relayed[family]->address, wire_of(peer))))
    return refusal;
  if (streams.connecting >= config_.max_connecting_per_allocation)
    return {508, "Too Many Connects Under Way", Limit::kConnecting};
  if (!connects_.take(request.now, allocation.owner.account, policy_->connects_per_second,
                      policy_->connects_burst))
    return {508, "Too Many Connects", Limit::kConnects};
  if (const Limit limit = book_.take_connection(allocation); limit != Limit::kNone)
    return {508, "Too Many Connections", limit};
  return {};
}

// Where the peer is to this node: one of our relayed addresses may have a public one.
Endpoint Server::Impl::wire_of(const PeerEndpoint& peer) const {
  for (const RelayedAddress& one : config_.relayed) {
    if (one.public_address() == peer.address) return {one.internal, peer.port};
  }
  return peer;
}

void Server::Impl::connected(Instant now, std::uint32_t id) {
  PeerConnection& connection = *book_.connection(id);
  if (connection.state != State::kConnecting) return;
  const Question question = *std::exchange(connection.asked, std::nullopt);
  book_.enter(id, State::kUnbound, expiry_s(now, config_.unbound_timeout_s));
  MessageWriter writer = begin(question, Class::kSuccess);
  writer.add(Attribute::kConnectionId, tokens_.seal_connection({config_.shard, id}));
  const FiveTuple& client = book_.at(connection.allocation)->five_tuple;
  if (!host_.peer_streams()->say(client, finish(question, writer, 0, true)))
    book_.end_connection(id);
}

// `said`: who has its stream has told.
void Server::Impl::not_connected(std::uint32_t id, const Refusal& refusal, bool said) {
  const PeerConnection& connection = *book_.connection(id);
  if (connection.asked)
    tell(book_.at(connection.allocation)->five_tuple, *connection.asked, refusal);
  book_.end_connection(id, said);
}

// RFC 6062 §5.3.
void Server::Impl::arrived(Instant now, const PeerStreamEvent& event) {
  const PeerArrival arrival = offer(now, event);
  counters.arrivals[static_cast<std::size_t>(arrival)].add();
  if (arrival != PeerArrival::kOffered) host_.peer_streams()->close(event.stream);
}

PeerArrival Server::Impl::offer(Instant now, const PeerStreamEvent& event) {
  Allocation* allocation = book_.at(event.relay);
  if (allocation == nullptr) return PeerArrival::kNoPermission;
  const PeerEndpoint peer{{public_of(event.peer.address), event.peer.port}};
  const auto permission = allocation->permissions.find(peer.address);
  if (permission == allocation->permissions.end() || permission->second.expires_s <= now_s(now))
    return PeerArrival::kNoPermission;
  if (allocation->streams->connections.contains(peer)) return PeerArrival::kNoRoom;
  if (const Limit limit = book_.take_connection(*allocation); limit != Limit::kNone) {
    count(limit);
    return PeerArrival::kNoRoom;
  }
  const std::uint32_t id =
      book_.add(*allocation, {.stream = event.stream,
                              .peer = peer,
                              .state = State::kUnbound,
                              .due_s = expiry_s(now, config_.unbound_timeout_s)});
  stun::TransactionId transaction{};
  for (std::uint8_t& byte : transaction)
    byte = static_cast<std::uint8_t>(host_.random_below(256));
  MessageWriter writer(answer_, Class::kIndication, stun::Method::kConnectionAttempt, transaction);
  writer.add(Attribute::kConnectionId, tokens_.seal_connection({config_.shard, id}));
  writer.add_xor_address(Attribute::kXorPeerAddress, peer);
  if (host_.peer_streams()->say(allocation->five_tuple, writer.finish()))
    return PeerArrival::kOffered;
  count(Limit::kStreams);
  book_.end_connection(id, true);
  return PeerArrival::kNoRoom;
}

PeerConnection* Server::Impl::named_connection(const Request& request, std::uint32_t& id) {
  const auto given = request.message.find(Attribute::kConnectionId);
  if (!given) return nullptr;
  const auto content = tokens_.open_connection(given->value);
  if (!content || content->shard != config_.shard) return nullptr;
  id = content->id;
  return book_.connection(id);
}

// RFC 6062 §5.4.
void Server::Impl::connection_bind(Request& request) {
  if (request.five_tuple.transport != Transport::kTcp)
    return refuse(request, {400, "ConnectionBind By Datagrams"});
  if (!request.message.has(Attribute::kConnectionId))
    return refuse(request, {400, "Connection Id Missing"});
  if (book_.find(request.five_tuple, now_s(request.now)) != nullptr)
    return refuse(request, {400, "Control Connection Is No Data Connection"});
  std::uint32_t id = 0;
  const PeerConnection* const named = named_connection(request, id);
  if (named == nullptr || named->state != State::kUnbound || named->due_s <= now_s(request.now))
    return refuse(request, kNoSuchConnection);
  const Allocation* const allocation = book_.find(named->allocation, now_s(request.now));
  // Of one name in two realms, two are meant.
  if (allocation == nullptr || allocation->owner.username != request.user.username ||
      allocation->owner.account.realm != request.realm)
    return refuse(request, kNoSuchConnection);
  MessageWriter writer = begin(request, Class::kSuccess);
  const stun::Bytes answer = finish(request.question(), writer, 0, true);
  if (!host_.peer_streams()->bind(named->stream, request.five_tuple, answer))
    return refuse(request, kTooMuchUnderWay);
  book_.enter(id, State::kBound, kNeverDue);
  host_.put_off(request.token);
}

void Server::Impl::heed(Instant now, const PeerStreamEvent& event) {
  using Kind = PeerStreamEvent::Kind;
  if (event.kind == Kind::kArrived) return arrived(now, event);
  if (event.kind == Kind::kOpened || event.kind == Kind::kNotOpened) {
    Allocation* const allocation = book_.at(event.relay);
    if (allocation != nullptr) opened(now, *allocation, event.kind == Kind::kOpened);
    return;
  }
  const auto id = book_.id_of(event.stream);
  if (!id) return;
  if (event.kind == Kind::kConnected) return connected(now, *id);
  if (event.kind == Kind::kOwnHost)
    return not_connected(*id, refused_by(PeerVerdict::kOwnHost), true);
  if (event.kind == Kind::kNoRoom) return not_connected(*id, kTooMuchUnderWay, true);
  not_connected(*id, {447}, true);
}

// RFC 6062 §5.2, §5.3: those whose peers, or clients, have not come.
std::size_t Server::Impl::end_connections(Instant now, std::size_t most) {
  std::size_t ended = 0;
  for (auto id = book_.connection_due(now_s(now)); ended < most && id;
       id = book_.connection_due(now_s(now)), ++ended) {
    if (book_.connection(*id)->state == State::kUnbound) counters.unbound.add();
    not_connected(*id, {447}, false);
  }
  return ended;
}

}  // namespace turnpike
