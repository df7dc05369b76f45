// Handshakes are OpenSSL's, who is whose is told here.
#include "transport/dtls_server.h"

#include <algorithm>

namespace turnpike::transport {

DtlsServer::Client::Client(const Ends& of, const DtlsWay& by, stun::Bytes hello, Instant now)
    : ends(of),
      way(by),
      from(of.client, of.server, FrameHeader::kTtlOfMessages),
      to(of.server, of.client, FrameHeader::kTtlOfDatagrams),
      life(now.ms) {
  std::copy_n(hello.begin(), random.size(), random.begin());
}

DtlsServer::DtlsServer(const Config& config, DtlsOutlet& outlet, StreamCounters& counters)
    : config_(config),
      cookies_(config.cookies),
      outlet_(outlet),
      counters_(counters),
      clients_(0, EndsHash{config.key}),
      of_source_(config.associations_per_source),
      room_(DtlsAssociation::kMostMessage) {}

DtlsServer::~DtlsServer() = default;

// One more client, in the place of one who was there; nullptr: there is no room.
DtlsServer::Client* DtlsServer::let_in(Instant now, const Ends& ends, const DtlsWay& way,
                                       const wire::ClientHello& hello) {
  const auto before = clients_.find(ends);
  if (before != clients_.end()) end(*before->second, StreamEnd::kReplaced);
  const bool full = clients_.size() >= config_.associations;
  if (full || !of_source_.has_room(ends.client.address)) {
    counters_.ends[static_cast<std::size_t>(full ? StreamEnd::kFull : StreamEnd::kSource)].add();
    return nullptr;
  }
  auto made = std::make_unique<Client>(ends, way, hello.random, now);
  Client& client = *made;
  client.association.emplace(
      context_,
      [this, &client](stun::Bytes datagram) {
        outlet_.datagram(client.ends, client.to, client.way, datagram);
      },
      counters_);
  clients_.emplace(ends, std::move(made));
  of_source_.add(ends.client.address);
  counters_.accepted.add();
  counters_.connections.set(clients_.size());
  return &client;
}

bool DtlsServer::receive(Instant now, const Ends& ends, const DtlsWay& way, stun::Bytes datagram) {
  const auto found = clients_.find(ends);
  Client* client = found == clients_.end() ? nullptr : found->second.get();
  wire::ClientHello hello;
  if (wire::read_client_hello(datagram, hello) == wire::HelloState::kWhole &&
      (client == nullptr || !std::equal(hello.random.begin(), hello.random.end(),
                                        client->random.begin(), client->random.end()))) {
    if (!cookies_.holds(now, ends.client, ends.server, hello.random, hello.cookie)) {
      counters_.lost_strange.add();
      return false;
    }
    client = let_in(now, ends, way, hello);
    if (client == nullptr) return false;
  }
  // RFC 6347 §4.1.2.7: of an association that is no more, in silence.
  if (client == nullptr) {
    counters_.lost_strange.add();
    return false;
  }
  DtlsAssociation& association = *client->association;
  const bool was_open = association.is_open();
  bool genuine = false;
  const DtlsAssociation::State state =
      association.receive(datagram, room_, [&](stun::Bytes message) {
        genuine = true;
        heard(now, *client, message);
      });
  // Where what a client alone can have sent comes from.
  if (genuine) client->way = way;
  if (!was_open && association.is_open()) opened(*client);
  if (state == DtlsAssociation::State::kOver) {
    end(*client, association.end());
  } else if (!was_open) {
    schedule(now, *client);
  }
  return !was_open;
}

void DtlsServer::opened(const Client& client) {
  counters_.open[kDtlsKind].add();
  counters_.handshakes[2].add();
  if (client.association->is_resumed()) counters_.resumed.add();
}

void DtlsServer::heard(Instant now, Client& client, stun::Bytes message) {
  counters_.bytes_in[kDtlsKind].add(message.size());
  if (!outlet_.message(client.ends, client.from, message)) return;
  counters_.messages_in.add();
  client.life.heard(now.ms);
}

bool DtlsServer::send(Instant now, const Endpoint& client, const Endpoint& server,
                      stun::Bytes message) {
  const auto found = clients_.find({client, server, 0});
  if (found == clients_.end()) return false;
  Client& to = *found->second;
  to.life.told(message, now.ms);
  if (!to.association->send(message)) {
    counters_.lost_too_long.add();
    return true;
  }
  counters_.messages_out.add();
  counters_.bytes_out[kDtlsKind].add(message.size());
  return true;
}

// Again when its last flight is to be sent again.
void DtlsServer::schedule(Instant now, Client& client) {
  if (client.due_ms != 0) due_.erase({client.due_ms, &client});
  const auto due_in = client.association->due_in_ms();
  client.due_ms = due_in ? std::max<std::uint64_t>(now.ms + *due_in, 1) : 0;
  if (client.due_ms != 0) due_.emplace(client.due_ms, &client);
}

void DtlsServer::look(Instant now, unsigned most) {
  for (; most > 0 && !due_.empty() && due_.begin()->first <= now.ms; --most) {
    Client& client = *due_.begin()->second;
    if (client.association->look_at_time() == DtlsAssociation::State::kOver)
      end(client, client.association->end());
    else
      schedule(now, client);
  }
  if (now.ms - looked_ms_ >= kLookMs) end_old(now);
}

void DtlsServer::end_old(Instant now) {
  looked_ms_ = now.ms;
  std::vector<Client*> old;
  for (const auto& [ends, client] : clients_) {
    if (client->life.ends_at(config_.patience) <= now.ms) old.push_back(client.get());
  }
  for (Client* client : old)
    end(*client, client->life.has_begun() ? StreamEnd::kIdle : StreamEnd::kHandshake);
}

std::optional<Instant> DtlsServer::due() const {
  if (clients_.empty()) return std::nullopt;
  const std::uint64_t look_ms = looked_ms_ + kLookMs;
  return Instant{due_.empty() ? look_ms : std::min(look_ms, due_.begin()->first)};
}

void DtlsServer::end(Client& client, StreamEnd why) {
  client.association->close();
  counters_.ends[static_cast<std::size_t>(why)].add();
  if (client.association->is_open()) {
    Counter& open = counters_.open[kDtlsKind];
    open.set(open.get() - 1);
  }
  if (client.due_ms != 0) due_.erase({client.due_ms, &client});
  of_source_.remove(client.ends.client.address);
  if (client.life.has_begun()) outlet_.closed(client.ends);
  // Its key is in it.
  const Ends ends = client.ends;
  clients_.erase(ends);
  counters_.connections.set(clients_.size());
}

void DtlsServer::end_all(StreamEnd why) {
  while (!clients_.empty())
    end(*clients_.begin()->second, why);
}

}  // namespace turnpike::transport
