// Sums over the threads: which of them a connection is at is nobody's matter.
#include "observe/stream_metrics.h"

#include <iterator>

namespace turnpike::observe {
namespace {

constexpr const char* kKinds[] = {"tcp", "tls", "dtls"};
constexpr const char* kVersions[] = {"1.2", "1.3", "dtls1.2"};

using All = TransportCounters;

template <typename Counters, typename Of>
std::uint64_t sum(const std::vector<const Counters*>& threads, Of&& of) {
  std::uint64_t total = 0;
  for (const Counters* counters : threads)
    total += of(*counters).get();
  return total;
}

template <typename Of>
std::uint64_t sum(const All& all, Of&& of) {
  return sum(all.tcp, of) + sum(all.udp, of);
}

// A value for what runs over TCP and one for what runs over UDP, where there is such.
template <typename Of>
void add_each(FamilyWriter& family, const All& all, const Labels& labels, Of&& of) {
  const auto add = [&](const char* over, const std::vector<const StreamCounters*>& threads) {
    if (threads.empty()) return;
    Labels whole{{"over", over}};
    whole.insert(whole.end(), labels.begin(), labels.end());
    family.add(std::move(whole), sum(threads, of));
  };
  add("tcp", all.tcp);
  add("udp", all.udp);
}

void collect_ends(std::vector<MetricFamily>& out, const All& all) {
  std::string help = "Connections that have ended, or were not let in, by reason.";
  for (const StreamEndInfo& info : kStreamEndInfo)
    help.append(" ").append(info.label).append(": ").append(info.explanation).append(".");
  FamilyWriter family(out, MetricType::Counter, "stream_ends_total", help);
  for (std::size_t i = 0; i < kStreamEndInfo.size(); ++i) {
    add_each(family, all, {{"reason", std::string(kStreamEndInfo[i].label)}},
             [i](const StreamCounters& one) -> const Counter& { return one.ends[i]; });
  }
}

void collect_lost(std::vector<MetricFamily>& out, const All& all) {
  struct Lost {
    const char* reason;
    Counter StreamCounters::*member;
  };
  static constexpr Lost kLost[] = {{"slow", &StreamCounters::lost_to_slow},
                                   {"too_long", &StreamCounters::lost_too_long},
                                   {"no_connection", &StreamCounters::lost_unowned},
                                   {"no_frame", &StreamCounters::lost_no_frame}};
  FamilyWriter family(out, MetricType::Counter, "stream_lost_messages_total",
                      "Messages lost whole. slow: the client reads more slowly than it is sent to. "
                      "too_long: longer than a frame, or a record of DTLS, holds. no_connection: "
                      "for one that has ended. no_frame: of DTLS, since no frame was left");
  for (const Lost& lost : kLost)
    family.add(
        {{"reason", lost.reason}},
        sum(all, [&](const StreamCounters& one) -> const Counter& { return one.*lost.member; }));
}

void collect_by_kind(std::vector<MetricFamily>& out, const All& all) {
  using Member = std::array<Counter, kStreamKinds> StreamCounters::*;
  const auto each = [&](FamilyWriter& family, Member member, const char* direction) {
    for (std::size_t kind = 0; kind < kStreamKinds; ++kind) {
      Labels labels{{"kind", kKinds[kind]}};
      if (direction != nullptr) labels.push_back({"direction", direction});
      family.add(std::move(labels), sum(all, [&](const StreamCounters& one) -> const Counter& {
                   return (one.*member)[kind];
                 }));
    }
  };
  {
    FamilyWriter open(out, MetricType::Gauge, "stream_connections",
                      "Connections now, done with their handshake, by kind");
    each(open, &StreamCounters::open, nullptr);
  }
  FamilyWriter bytes(out, MetricType::Counter, "stream_bytes_total",
                     "Bytes of connections, without TLS's own");
  each(bytes, &StreamCounters::bytes_in, "in");
  each(bytes, &StreamCounters::bytes_out, "out");
}

}  // namespace

void collect_streams(std::vector<MetricFamily>& out, const All& all) {
  const auto counter = [&](const char* name, const char* help, Counter StreamCounters::*member) {
    FamilyWriter(out, MetricType::Counter, name, help)
        .add({}, sum(all, [member](const StreamCounters& one) -> const Counter& {
               return one.*member;
             }));
  };
  counter("stream_accepted_total", "Connections let in", &StreamCounters::accepted);
  collect_ends(out, all);
  collect_by_kind(out, all);
  collect_lost(out, all);
  {
    FamilyWriter messages(out, MetricType::Counter, "stream_messages_total",
                          "STUN messages and ChannelData of connections");
    add_each(messages, all, {{"direction", "in"}},
             [](const StreamCounters& one) -> const Counter& { return one.messages_in; });
    add_each(messages, all, {{"direction", "out"}},
             [](const StreamCounters& one) -> const Counter& { return one.messages_out; });
  }
  counter("stream_writes_total", "Writes to connections, each of one or more messages",
          &StreamCounters::writes);
  counter("stream_stalled_reads_total", "Reads put off, since no frame was left",
          &StreamCounters::stalls);
  counter("stream_no_descriptor_total", "Looks for connections that found no descriptor left",
          &StreamCounters::out_of_descriptors);
  {
    FamilyWriter handshakes(out, MetricType::Counter, "tls_handshakes_total",
                            "Handshakes of TLS and DTLS that succeeded, by version");
    for (std::size_t i = 0; i < std::size(kVersions); ++i)
      handshakes.add(
          {{"version", kVersions[i]}},
          sum(all, [i](const StreamCounters& one) -> const Counter& { return one.handshakes[i]; }));
  }
  {
    FamilyWriter alerts(out, MetricType::Counter, "tls_alerts_total",
                        "Alerts of TLS and DTLS, by whom they are and what they say (RFC 8446 §6)");
    for (std::size_t from = 0; from < 2; ++from) {
      for (std::size_t i = 0; i < kTlsAlerts.size(); ++i)
        add_each(
            alerts, all,
            {{"from", from == 0 ? "client" : "relay"}, {"alert", std::string(kTlsAlerts[i].label)}},
            [from, i](const StreamCounters& one) -> const Counter& { return one.alerts[from][i]; });
    }
  }
  counter("tls_resumed_total", "Handshakes that resumed a session", &StreamCounters::resumed);
  counter("dtls_strange_datagrams_total",
          "Datagrams of DTLS that are of no client's: none was known, or a cookie was not good",
          &StreamCounters::lost_strange);
}

void collect_peer_streams(std::vector<MetricFamily>& out,
                          const std::vector<const PeerStreamCounters*>& threads,
                          const std::vector<const ServerCounters*>& shards) {
  const auto of_shards = [&shards](auto&& of) { return sum(shards, of); };
  const auto of_threads = [&threads](Counter PeerStreamCounters::*member) {
    return sum(threads,
               [member](const PeerStreamCounters& one) -> const Counter& { return one.*member; });
  };
  FamilyWriter(out, MetricType::Gauge, "peer_relays",
               "Relayed transport addresses of TCP now, to which peers connect")
      .add({}, of_threads(&PeerStreamCounters::relays));
  FamilyWriter(out, MetricType::Gauge, "peer_connections",
               "Connections with peers now, those under way among them")
      .add({}, of_shards([](const ServerCounters& shard) -> const Counter& {
             return shard.peer_connections;
           }));
  FamilyWriter(out, MetricType::Counter, "peer_connections_unbound_total",
               "Connections with peers that ended because no ConnectionBind came")
      .add({},
           of_shards([](const ServerCounters& shard) -> const Counter& { return shard.unbound; }));
  {
    static constexpr std::array<const char*, static_cast<std::size_t>(PeerArrival::kCount)>
        kResults{"offered", "no_permission", "no_room"};
    FamilyWriter family(out, MetricType::Counter, "peer_arrivals_total",
                        "Connections of peers to relayed addresses, by what became of them. "
                        "offered: the client was told. no_permission, no_room: closed");
    for (std::size_t i = 0; i < kResults.size(); ++i)
      family.add({{"result", kResults[i]}},
                 of_shards([i](const ServerCounters& shard) -> const Counter& {
                   return shard.arrivals[i];
                 }));
  }
  {
    FamilyWriter family(out, MetricType::Counter, "peer_stream_bytes_total",
                        "Bytes between clients and peers of TCP");
    family.add({{"direction", "to_peer"}}, of_threads(&PeerStreamCounters::bytes_to_peers));
    family.add({{"direction", "to_client"}}, of_threads(&PeerStreamCounters::bytes_to_clients));
  }
  std::string help = "Sockets to or from peers that came to nothing, by reason.";
  for (const PeerStreamFailureInfo& info : kPeerStreamFailureInfo)
    help.append(" ").append(info.label).append(": ").append(info.explanation).append(".");
  FamilyWriter family(out, MetricType::Counter, "peer_stream_failures_total", help);
  for (std::size_t i = 0; i < kPeerStreamFailureInfo.size(); ++i)
    family.add({{"reason", std::string(kPeerStreamFailureInfo[i].label)}},
               sum(threads, [i](const PeerStreamCounters& one) -> const Counter& {
                 return one.failures[i];
               }));
}

void collect_host(std::vector<MetricFamily>& out, const HostCounters& host) {
  FamilyWriter(out, MetricType::Gauge, "own_host_sockets",
               "Relayed transport addresses with a kernel socket for peers on this host")
      .add({}, host.sockets.get());
  FamilyWriter(
      out, MetricType::Counter, "own_host_no_socket_total",
      "Relayed transport addresses whose peers on this host couldn't be reached: no kernel "
      "socket could be had at first")
      .add({}, host.no_socket.get());
  FamilyWriter(out, MetricType::Gauge, "own_host_missing_sockets",
               "Transport addresses, relayed or listening, without the kernel socket that they "
               "should have; all are tried again, 256 in a second")
      .add({}, host.missing.get());
  {
    FamilyWriter datagrams(out, MetricType::Counter, "own_host_datagrams_total",
                           "Datagrams of clients and peers on this host, and to them");
    datagrams.add({{"direction", "in"}}, host.in.get());
    datagrams.add({{"direction", "out"}}, host.out.get());
  }
  FamilyWriter lost(out, MetricType::Counter, "own_host_lost_total",
                    "Datagrams of clients and peers on this host, or to them, that were lost. "
                    "no_frame: workers had no room. too_long: no "
                    "frame holds it. overflow: the kernel's socket was full, told with the next "
                    "datagram that is read. no_socket: the relayed transport address has none. "
                    "own_service: from or to a transport address of the relay itself. refused: the "
                    "kernel didn't take it");
  lost.add({{"reason", "no_frame"}}, host.lost_no_frame.get());
  lost.add({{"reason", "too_long"}}, host.lost_too_long.get());
  lost.add({{"reason", "overflow"}}, host.lost_overflow.get());
  lost.add({{"reason", "no_socket"}}, host.lost_no_socket.get());
  lost.add({{"reason", "own_service"}}, host.lost_own_service.get());
  lost.add({{"reason", "refused"}}, host.lost_refused.get());
}

}  // namespace turnpike::observe
