// What the metrics say about given counters, and when a node counts as ready.
#include "observe/metrics.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <sstream>

namespace turnpike::observe {
namespace {

class MetricsText : public testing::Test {
 protected:
  MetricsText() {
    source.workers = {&workers[0], &workers[1]};
    source.shards = {&shard};
    source.hearts = [this] { return hearts; };
    source.now_ms = [] { return std::uint64_t{10'000}; };
    source.buffers = [] { return Use{3, 100}; };
    source.next_hops = [] { return Use{1, 7}; };
    source.version = "1.2.3";
  }

  bool says(const std::string& line) const {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, collect(source));
    return ("\n" + text.str()).find("\n" + line + "\n") != std::string::npos;
  }

  std::array<flow::WorkerCounters, 2> workers;
  ServerCounters shard;
  // Control, worker 0 and engine 0 go round at these times.
  void beat(std::initializer_list<std::uint64_t> times) {
    static constexpr std::array<const char*, 3> kNames{"control", "worker 0", "engine 0"};
    hearts.clear();
    for (const std::uint64_t time : times) {
      const std::size_t i = hearts.size();
      beats[i].beat(time);
      hearts.push_back({kNames[i], &beats[i]});
    }
  }

  std::array<Heartbeat, 3> beats;
  std::vector<Heart> hearts;
  MetricsSource source;
};

TEST_F(MetricsText, SumTrafficOverWorkersByDirectionAndFamily) {
  workers[0].peer_out[family_index(Family::kIpv6)].packets.add(2);
  workers[1].peer_out[family_index(Family::kIpv6)].packets.add(3);
  workers[1].peer_out[family_index(Family::kIpv6)].bytes.add(500);
  EXPECT_TRUE(says(R"(turnpike_relayed_packets_total{direction="peer_out",family="ipv6"} 5)"));
  EXPECT_TRUE(says(R"(turnpike_relayed_bytes_total{direction="peer_out",family="ipv6"} 500)"));
  EXPECT_TRUE(says(R"(turnpike_relayed_packets_total{direction="peer_out",family="ipv4"} 0)"));
}

TEST_F(MetricsText, CountMovesOfAllShards) {
  ServerCounters other;
  source.shards.push_back(&other);
  shard.moves.add(2);
  other.moves.add();
  EXPECT_TRUE(says("turnpike_moves_total 3"));
}

TEST_F(MetricsText, TellOfTcpRelayingWhereThereIsAny) {
  EXPECT_FALSE(says("turnpike_peer_relays 0"));
  PeerStreamCounters peers;
  source.peer_streams = {&peers};
  ServerCounters other;
  source.shards.push_back(&other);
  peers.relays.set(2);
  peers.bytes_to_peers.add(7);
  peers.bytes_to_clients.add(8);
  peers.count(PeerStreamFailure::kOwnHost);
  shard.peer_connections.set(3);
  other.peer_connections.set(4);
  shard.unbound.add(5);
  other.arrivals[static_cast<std::size_t>(PeerArrival::kNoPermission)].add(6);
  shard.requests[4][14].add(9);  // Connect, 447
  EXPECT_TRUE(says("turnpike_peer_relays 2"));
  EXPECT_TRUE(says("turnpike_peer_connections 7"));
  EXPECT_TRUE(says("turnpike_peer_connections_unbound_total 5"));
  EXPECT_TRUE(says(R"(turnpike_peer_arrivals_total{result="no_permission"} 6)"));
  EXPECT_TRUE(says(R"(turnpike_peer_arrivals_total{result="offered"} 0)"));
  EXPECT_TRUE(says(R"(turnpike_peer_stream_bytes_total{direction="to_peer"} 7)"));
  EXPECT_TRUE(says(R"(turnpike_peer_stream_bytes_total{direction="to_client"} 8)"));
  EXPECT_TRUE(says(R"(turnpike_peer_stream_failures_total{reason="own_host"} 1)"));
  EXPECT_TRUE(says(R"(turnpike_requests_total{method="connect",result="447"} 9)"));
  EXPECT_TRUE(says(R"(turnpike_requests_total{method="connection_bind",result="success"} 0)"));
}

TEST_F(MetricsText, CountAllocationsByWhatTheirClientsSpeak) {
  ServerCounters other;
  source.shards.push_back(&other);
  shard.transport_allocations[static_cast<std::size_t>(Transport::kTcp)].set(2);
  other.transport_allocations[static_cast<std::size_t>(Transport::kTcp)].set(3);
  shard.transport_allocations[static_cast<std::size_t>(Transport::kDtls)].set(4);
  EXPECT_TRUE(says(R"(turnpike_client_allocations{transport="tcp"} 5)"));
  EXPECT_TRUE(says(R"(turnpike_client_allocations{transport="dtls"} 4)"));
  EXPECT_TRUE(says(R"(turnpike_client_allocations{transport="udp"} 0)"));
}

TEST_F(MetricsText, CountWhatGoesThroughTheHostWhereItIsServed) {
  EXPECT_FALSE(says("turnpike_own_host_sockets 0"));
  HostCounters host;
  host.in.add(7);
  host.out.add(5);
  host.sockets.set(3);
  host.lost_own_service.add(2);
  host.lost_overflow.add(4);
  host.missing.set(1);
  source.host = &host;
  EXPECT_TRUE(says("turnpike_own_host_datagrams_total{direction=\"in\"} 7"));
  EXPECT_TRUE(says("turnpike_own_host_datagrams_total{direction=\"out\"} 5"));
  EXPECT_TRUE(says("turnpike_own_host_sockets 3"));
  EXPECT_TRUE(says("turnpike_own_host_lost_total{reason=\"own_service\"} 2"));
  EXPECT_TRUE(says("turnpike_own_host_lost_total{reason=\"overflow\"} 4"));
  EXPECT_TRUE(says("turnpike_own_host_missing_sockets 1"));
}

TEST_F(MetricsText, CountAllocationsByRealmWhereThereAreSeveral) {
  shard.realm_allocations[0].set(1);
  shard.realm_allocations[2].set(3);
  source.realms = {"example.org"};
  EXPECT_FALSE(says(R"(turnpike_realm_allocations{realm="example.org"} 1)"));
  source.realms = {"example.org", "example.com", "example.net"};
  EXPECT_TRUE(says(R"(turnpike_realm_allocations{realm="example.org"} 1)"));
  EXPECT_TRUE(says(R"(turnpike_realm_allocations{realm="example.com"} 0)"));
  EXPECT_TRUE(says(R"(turnpike_realm_allocations{realm="example.net"} 3)"));
}

TEST_F(MetricsText, NameEveryReasonForADropButNone) {
  workers[1].drops[static_cast<std::size_t>(flow::Drop::kNoPermission)].add(4);
  EXPECT_TRUE(says(R"(turnpike_dropped_packets_total{reason="no_permission"} 4)"));
  EXPECT_TRUE(says(R"(turnpike_dropped_packets_total{reason="no_mbuf"} 0)"));
  EXPECT_FALSE(says(R"(turnpike_dropped_packets_total{reason="none"} 0)"));
}

TEST_F(MetricsText, TellOfEachPortItsLinkAndWhatItsDeviceLost) {
  PortHealth down{"af_xdp:north", false, {}};
  down.lost[static_cast<std::size_t>(flow::PortDrop::kMissed)] = 7;
  source.ports = [&] { return std::vector{down, PortHealth{"0000:01:00.0", true, {}}}; };
  EXPECT_TRUE(says(R"(turnpike_port_up{port="af_xdp:north"} 0)"));
  EXPECT_TRUE(says(R"(turnpike_port_up{port="0000:01:00.0"} 1)"));
  EXPECT_TRUE(
      says(R"(turnpike_port_dropped_packets_total{port="af_xdp:north",reason="missed"} 7)"));
  EXPECT_TRUE(
      says(R"(turnpike_port_dropped_packets_total{port="0000:01:00.0",reason="no_buffer"} 0)"));
}

TEST_F(MetricsText, CountRequestsByMethodAndErrorCode) {
  shard.requests[0][0].add(6);
  shard.requests[1][7].add(2);
  ASSERT_EQ(kResults[7], 437);
  EXPECT_TRUE(says(R"(turnpike_requests_total{method="allocate",result="success"} 6)"));
  EXPECT_TRUE(says(R"(turnpike_requests_total{method="refresh",result="437"} 2)"));
}

TEST_F(MetricsText, NameEveryLimitThatRefusesButNone) {
  shard.limits[static_cast<std::size_t>(Limit::kAllocationsPerSource)].add(3);
  EXPECT_TRUE(says(R"(turnpike_limit_refusals_total{limit="allocations_per_source"} 3)"));
  EXPECT_TRUE(says(R"(turnpike_limit_refusals_total{limit="ports"} 0)"));
  EXPECT_FALSE(says(R"(turnpike_limit_refusals_total{limit=""} 0)"));
}

TEST_F(MetricsText, GiveBurstFillAsARatioAndZeroBeforeTheFirst) {
  workers[0].bursts.add(4);
  workers[0].received_packets.add(10);
  EXPECT_TRUE(says(R"(turnpike_worker_burst_fill{worker="0"} 2.5)"));
  EXPECT_TRUE(says(R"(turnpike_worker_burst_fill{worker="1"} 0)"));
}

TEST_F(MetricsText, ShowUseBesideLimitAndTheVersion) {
  EXPECT_TRUE(says(R"(turnpike_pool_used{pool="buffers"} 3)"));
  EXPECT_TRUE(says(R"(turnpike_pool_limit{pool="buffers"} 100)"));
  EXPECT_TRUE(says(R"(turnpike_build_info{version="1.2.3"} 1)"));
}

TEST_F(MetricsText, AreOfOneFamilyPerName) {
  std::vector<std::string> names;
  for (const prometheus::MetricFamily& family : collect(source))
    names.push_back(family.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST_F(MetricsText, CallANodeReadyWhileAllHeartsBeat) {
  beat({9'900, 7'000});  // three seconds are still in time
  EXPECT_EQ(why_not_ready(source), "");
}

TEST_F(MetricsText, NameTheThreadsThatStall) {
  beat({9'900, 6'999, 1});
  EXPECT_EQ(why_not_ready(source), "stalled: worker 0, engine 0");
}

TEST_F(MetricsText, TellConditionsAndWhetherTheyKeepFromBeingReady) {
  Conditions conditions;
  source.conditions = &conditions;
  EXPECT_EQ(why_not_ready(source), "");
  EXPECT_TRUE(says(R"(turnpike_condition{condition="missing_address"} 0)"));
  EXPECT_TRUE(conditions.set(Condition::kLateAddress, "192.0.2.7"));
  EXPECT_EQ(why_not_ready(source), "");
  EXPECT_TRUE(says(R"(turnpike_condition{condition="late_address"} 1)"));
  EXPECT_TRUE(conditions.set(Condition::kNoHostSocket, "1"));
  EXPECT_EQ(why_not_ready(source), "") << "all others are served";
  EXPECT_TRUE(says(R"(turnpike_condition{condition="no_host_socket"} 1)"));
  EXPECT_TRUE(conditions.set(Condition::kMissingAddress, "192.0.2.1"));
  EXPECT_FALSE(conditions.set(Condition::kMissingAddress, "192.0.2.1")) << "no news";
  EXPECT_EQ(why_not_ready(source), "missing_address: 192.0.2.1");
  beat({9'900, 1});
  EXPECT_EQ(why_not_ready(source), "stalled: worker 0\nmissing_address: 192.0.2.1");
  EXPECT_TRUE(conditions.set(Condition::kMissingAddress, ""));
  EXPECT_TRUE(says(R"(turnpike_condition{condition="missing_address"} 0)"));
}

// A thread of a shared host that waits for its core for a second is told of, and no more.
TEST_F(MetricsText, CountAStallOfASecondWithoutCallingTheNodeUnready) {
  beat({5'000, 5'000});
  beat({9'900, 8'400});
  EXPECT_TRUE(says(R"(turnpike_heartbeat_stalls_total{thread="worker 0"} 1)"));
  EXPECT_TRUE(says(R"(turnpike_heartbeat_age_seconds{thread="worker 0"} 1.6)"));
  EXPECT_EQ(why_not_ready(source), "");
}

TEST(MetricsAddress, IsOpenToStrangersUnlessItIsPrivate) {
  for (const char* open : {"0.0.0.0", "::", "203.0.113.7", "2001:db8::1", "172.32.0.1", "::2"})
    EXPECT_TRUE(is_open_to_strangers(*Address::parse(open))) << open;
  for (const char* inside : {"127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.3.4", "100.64.0.1",
                             "169.254.1.1", "::1", "fd20:1::1", "fe80::1"})
    EXPECT_FALSE(is_open_to_strangers(*Address::parse(inside))) << inside;
}

TEST_F(MetricsText, CountAWorkersGapsByLength) {
  workers[1].stalls[0].add(3);
  workers[1].stalls[2].add(1);
  EXPECT_TRUE(says(R"(turnpike_worker_stalls_total{worker="1",over="20us"} 3)"));
  EXPECT_TRUE(says(R"(turnpike_worker_stalls_total{worker="1",over="100us"} 0)"));
  EXPECT_TRUE(says(R"(turnpike_worker_stalls_total{worker="1",over="1ms"} 1)"));
}

TEST_F(MetricsText, GiveBurstTimesAsACumulativeHistogram) {
  source.tsc_hz = 1'000'000'000;
  workers[0].burst_time.set_clock(source.tsc_hz);
  workers[0].burst_time.record(3'000);
  workers[0].burst_time.record(3'500);
  workers[0].burst_time.record(70'000'000);
  EXPECT_TRUE(says(R"(turnpike_burst_seconds_bucket{worker="0",le="2e-06"} 0)"));
  EXPECT_TRUE(says(R"(turnpike_burst_seconds_bucket{worker="0",le="4e-06"} 2)"));
  EXPECT_TRUE(says(R"(turnpike_burst_seconds_bucket{worker="0",le="0.065536"} 2)"));
  EXPECT_TRUE(says(R"(turnpike_burst_seconds_bucket{worker="0",le="+Inf"} 3)"));
  EXPECT_TRUE(says(R"(turnpike_burst_seconds_count{worker="0"} 3)"));
  EXPECT_TRUE(says(R"(turnpike_burst_seconds_sum{worker="0"} 0.0700065)"));
}

}  // namespace
}  // namespace turnpike::observe
