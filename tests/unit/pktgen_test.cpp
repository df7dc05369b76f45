// The load generator's parts that need no DPDK: the histogram, who is who, frames and neighbours.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "frames.h"
#include "histogram.h"
#include "neighbour.h"
#include "plan.h"
#include "wire/checksum.h"

namespace turnpike::pktgen {
namespace {

TEST(Histogram, SaysNothingOfNothing) {
  const Histogram empty;
  EXPECT_EQ(empty.count(), 0U);
  EXPECT_EQ(empty.percentile(50), 0U);
  EXPECT_EQ(empty.min(), 0U);
  EXPECT_EQ(empty.max(), 0U);
  EXPECT_EQ(empty.mean(), 0);
}

TEST(Histogram, KeepsSmallValuesExactly) {
  Histogram histogram;
  for (std::uint64_t value = 1; value <= 200; ++value)
    histogram.record(value);
  EXPECT_EQ(histogram.percentile(0.5), 1U);
  EXPECT_EQ(histogram.percentile(50), 100U);
  EXPECT_EQ(histogram.percentile(99), 198U);
  EXPECT_EQ(histogram.percentile(100), 200U);
  EXPECT_EQ(histogram.min(), 1U);
  EXPECT_DOUBLE_EQ(histogram.mean(), 100.5);
}

TEST(Histogram, IsWithinEightTenthsOfAPercentOfTheSortedValues) {
  std::mt19937_64 random(7);
  for (const int bits : {8, 12, 20, 33, 39}) {
    Histogram histogram;
    std::vector<std::uint64_t> values(10000);
    for (std::uint64_t& value : values) {
      value = random() >> (64 - bits);
      histogram.record(value);
    }
    std::sort(values.begin(), values.end());
    for (const double percent : {1.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
      const auto rank = static_cast<std::size_t>(percent / 100 * 10000 + 0.5) - 1;
      const auto exact = static_cast<double>(values[rank]);
      const auto found = static_cast<double>(histogram.percentile(percent));
      EXPECT_GE(found, exact) << bits << " bits, " << percent;
      EXPECT_LE(found, exact * 1.008 + 1) << bits << " bits, " << percent;
    }
  }
}

TEST(Histogram, FindsEachValueInItsOwnBucket) {
  for (unsigned bit = 0; bit < 40; ++bit) {
    for (const std::int64_t step : {-1, 0, 1}) {
      const auto value = (std::uint64_t{1} << bit) + static_cast<std::uint64_t>(step);
      Histogram histogram;
      histogram.record(value);
      histogram.record(Histogram::kMost);  // else percentile() stops at max()
      const auto found = static_cast<double>(histogram.percentile(50));
      EXPECT_GE(found, static_cast<double>(value));
      EXPECT_LE(found, static_cast<double>(value) * 1.008 + 1);
    }
  }
}

TEST(Histogram, CountsWhatIsTooLongAsTheLongest) {
  Histogram histogram;
  histogram.record(~std::uint64_t{0});
  EXPECT_EQ(histogram.max(), Histogram::kMost);
  EXPECT_EQ(histogram.percentile(50), Histogram::kMost);
}

TEST(Histogram, AddsUp) {
  Histogram a, b, both;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    (i % 3 == 0 ? a : b).record(i * 977);
    both.record(i * 977);
  }
  a.add(b);
  EXPECT_EQ(a.count(), both.count());
  EXPECT_EQ(a.max(), both.max());
  EXPECT_EQ(a.min(), both.min());
  for (const double percent : {10.0, 50.0, 99.0})
    EXPECT_EQ(a.percentile(percent), both.percentile(percent));
}

Options options_of(std::uint32_t allocations, Families clients, std::optional<Families> peers) {
  Options options;
  options.allocations = allocations;
  options.client_families = clients;
  options.peer_families = peers;
  options.servers = {Endpoint::parse("10.203.0.1:3478"), Endpoint::parse("[fd00:203::1]:3478")};
  options.clients = {*Prefix::parse("10.204.0.0/24"), *Prefix::parse("fd00:204::/64")};
  options.peers = {*Prefix::parse("10.205.0.0/24"), *Prefix::parse("fd00:205::/64")};
  options.attackers = {*Prefix::parse("10.206.0.0/16"), *Prefix::parse("fd00:206::/64")};
  return options;
}

TEST(Plan, EveryFlowHasItsOwnEndpointsAndIsFoundByThem) {
  for (const Families clients : {Families::kIpv4, Families::kIpv6, Families::kBoth}) {
    for (const std::optional<Families> peers :
         {std::optional<Families>(), std::optional(Families::kIpv4), std::optional(Families::kIpv6),
          std::optional(Families::kBoth)}) {
      const Plan plan(options_of(2001, clients, peers));
      std::set<Endpoint> seen;
      for (std::uint32_t flow = 0; flow < plan.flows(); ++flow) {
        EXPECT_TRUE(seen.insert(plan.client(flow)).second);
        EXPECT_TRUE(seen.insert(plan.peer(flow)).second);
        EXPECT_EQ(plan.flow_of_client(plan.client(flow)), flow);
        EXPECT_EQ(plan.flow_of_peer(plan.peer(flow)), flow);
        EXPECT_EQ(plan.client(flow).address.family, plan.client_family(flow));
        EXPECT_EQ(plan.peer(flow).address.family, plan.peer_family(flow));
        EXPECT_TRUE(plan.is_ours(plan.client(flow).address));
      }
    }
  }
}

TEST(Plan, UsesNoAddressThatMeansANetwork) {
  const Plan plan(options_of(1000, Families::kIpv4, std::nullopt));
  for (std::uint32_t flow = 0; flow < plan.flows(); ++flow) {
    EXPECT_NE(plan.client(flow).address, Address::v4(10, 204, 0, 0));
    EXPECT_NE(plan.client(flow).address, Address::v4(10, 204, 0, 255));
  }
}

TEST(Plan, KnowsStrangers) {
  const Plan plan(options_of(100, Families::kIpv4, std::nullopt));
  EXPECT_FALSE(plan.flow_of_client(*Endpoint::parse("10.204.0.101:10000")));
  EXPECT_FALSE(plan.flow_of_client(*Endpoint::parse("10.204.0.1:10001")));
  EXPECT_FALSE(plan.flow_of_client(*Endpoint::parse("10.204.0.1:9999")));
  EXPECT_FALSE(plan.flow_of_client(*Endpoint::parse("10.205.0.1:10000")));
  EXPECT_FALSE(plan.flow_of_client(*Endpoint::parse("[fd00:204::1]:10000")));
  EXPECT_FALSE(plan.is_ours(Address::v4(10, 203, 0, 1)));
  EXPECT_TRUE(plan.is_attacker(Address::v4(10, 206, 1, 1)));
}

TEST(Plan, RefusesPrefixesThatAreTooSmall) {
  Options options = options_of(1000000, Families::kIpv4, std::nullopt);
  options.clients[0] = *Prefix::parse("10.204.0.0/30");
  EXPECT_THROW(Plan{options}, std::runtime_error);
}

std::vector<std::uint8_t> frame_of(const Endpoint& from, const Endpoint& to) {
  const std::vector<std::uint8_t> payload = {1, 2, 3, 4, 5};
  const std::size_t headers = headers_size(from.address.family);
  std::vector<std::uint8_t> frame(headers + payload.size());
  write_headers(frame.data(), {{2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 1}}, from, to, payload.size());
  std::copy(payload.begin(), payload.end(), frame.begin() + static_cast<std::ptrdiff_t>(headers));
  set_udp_checksum(frame.data(), from.address.family, payload.size());
  return frame;
}

TEST(Frames, ComeBackAsTheyWereWritten) {
  for (const auto& [from, to] : {std::pair("10.204.0.1:10000", "10.203.0.1:3478"),
                                 {"[fd00:204::1]:10000", "[fd00:203::1]:3478"}}) {
    const auto frame = frame_of(*Endpoint::parse(from), *Endpoint::parse(to));
    const auto datagram = parse_datagram(frame);
    ASSERT_TRUE(datagram);
    EXPECT_EQ(datagram->source, Endpoint::parse(from));
    EXPECT_EQ(datagram->destination, Endpoint::parse(to));
    EXPECT_EQ(datagram->payload.size(), 5U);
    EXPECT_TRUE(checksums_good(frame, false));
  }
}

TEST(Frames, KeepARightChecksumWhereATimeIsWrittenLast) {
  for (const auto& [from, to] : {std::pair("10.204.0.1:10000", "10.203.0.1:3478"),
                                 {"[fd00:204::1]:10000", "[fd00:203::1]:3478"}}) {
    const Endpoint source = *Endpoint::parse(from);
    const Family family = source.address.family;
    for (std::uint32_t time = 1; time < 70'000; time += 13) {
      auto frame = frame_of(source, *Endpoint::parse(to));  // payload 1, 2, 3, 4, 5
      std::uint8_t* at = frame.data() + headers_size(family);
      wire::store_be32(at, 0);
      set_udp_checksum(frame.data(), family, 5);
      wire::store_be32(at, time * 2654435761U);
      add_to_udp_checksum(frame.data(), family, wire::sum_bytes(at, 4));
      ASSERT_TRUE(checksums_good(frame, false)) << time;
    }
  }
}

TEST(Frames, ShowEveryFlippedBit) {
  for (const auto& [from, to] : {std::pair("10.204.0.1:10000", "10.203.0.1:3478"),
                                 {"[fd00:204::1]:10000", "[fd00:203::1]:3478"}}) {
    const auto whole = frame_of(*Endpoint::parse(from), *Endpoint::parse(to));
    // IPv6 has no checksum over class, flow label and hop limit.
    const std::size_t begin = whole.size() > 60 ? 14 + 8 : 14;
    for (std::size_t bit = begin * 8; bit < whole.size() * 8; ++bit) {
      auto frame = whole;
      frame[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
      EXPECT_FALSE(parse_datagram(frame) && checksums_good(frame, false)) << bit;
    }
  }
}

TEST(Frames, AreNeverReadBeyondTheirEnd) {
  const auto whole =
      frame_of(*Endpoint::parse("[fd00:204::1]:1"), *Endpoint::parse("[fd00:203::1]:3478"));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::uint8_t> cut(whole.begin(),
                                        whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(parse_datagram(cut));
  }
}

// What one asks, another with the address answers, and the first understands.
TEST(NextHops, AreAskedForAndAnswered) {
  const Plan plan(options_of(10, Families::kBoth, std::nullopt));
  const Mac ours = {2, 0, 0, 0, 0, 2};
  const Mac theirs = {2, 0, 0, 0, 0, 9};
  for (const auto& [asker, wanted] :
       {std::pair("10.203.0.1", "10.204.0.7"), {"fd00:203::1", "fd00:204::7"}}) {
    const Address address = *Address::parse(wanted);
    std::array<std::uint8_t, kNeighbourFrame> question{}, answer{};
    const std::size_t asked = ask_neighbour(address, *Address::parse(asker), theirs, question);
    const std::size_t answered = answer_neighbour(Bytes(question).first(asked), plan, ours, answer);
    ASSERT_GT(answered, 0U);
    EXPECT_EQ(neighbour_answer(Bytes(answer).first(answered), address), ours);
    EXPECT_TRUE(std::equal(theirs.begin(), theirs.end(), answer.begin()));
    EXPECT_FALSE(neighbour_answer(Bytes(answer).first(answered), *Address::parse(asker)));
    for (std::size_t size = 0; size < asked; ++size) {
      const std::vector<std::uint8_t> cut(question.begin(),
                                          question.begin() + static_cast<std::ptrdiff_t>(size));
      (void)answer_neighbour(cut, plan, ours, answer);
      (void)neighbour_answer(cut, address);
    }
  }
}

TEST(NextHops, AreNotAnsweredForOthers) {
  const Plan plan(options_of(10, Families::kBoth, std::nullopt));
  for (const auto& [asker, wanted] :
       {std::pair("10.203.0.1", "10.203.0.7"), {"fd00:203::1", "fd00:203::7"}}) {
    std::array<std::uint8_t, kNeighbourFrame> question{}, answer{};
    const std::size_t asked = ask_neighbour(*Address::parse(wanted), *Address::parse(asker),
                                            {2, 0, 0, 0, 0, 9}, question);
    EXPECT_EQ(answer_neighbour(Bytes(question).first(asked), plan, {}, answer), 0U);
  }
}

}  // namespace
}  // namespace turnpike::pktgen
