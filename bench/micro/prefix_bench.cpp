// Whether an address is in one of 10, or of 200,000, prefixes: ours against a plain binary search
// and DPDK's tables, asked one address at a time, as a request asks. And what the rules of peers
// cost with such lists. `bytes` is what a table holds; for DPDK's, what its heap has given out for
// it.
#include <benchmark/benchmark.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_malloc.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "policy/peer_rules.h"
#include "policy/prefix_set.h"

namespace turnpike::bench {
namespace {

constexpr std::size_t kMost = 200'000;
constexpr std::size_t kAsked = 1 << 16;

using Random = std::mt19937;

Prefix cut(Address address, unsigned length) {
  for (unsigned bit = length; bit < 8 * address.size(); ++bit)
    address.bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> bit % 8));
  return {address, static_cast<std::uint8_t>(length)};
}

// As lists have them: of IPv4 single addresses and small networks anywhere; of IPv6 what registries
// give away, out of a few /12s.
Prefix any_prefix(Random& random, Family family) {
  constexpr std::array<unsigned, 8> kLengths4{32, 32, 32, 32, 24, 24, 22, 20};
  constexpr std::array<unsigned, 8> kLengths6{32, 32, 36, 40, 48, 48, 56, 64};
  constexpr std::array<unsigned, 6> kRegistries{0x200, 0x240, 0x260, 0x280, 0x2a0, 0x2c0};
  Address address;
  address.family = family;
  for (std::size_t i = 0; i < address.size(); ++i)
    address.bytes[i] = static_cast<std::uint8_t>(random());
  if (family == Family::kIpv4) {
    address.bytes[0] = static_cast<std::uint8_t>(11 + random() % 89);
    return cut(address, kLengths4[random() % kLengths4.size()]);
  }
  const unsigned registry = kRegistries[random() % kRegistries.size()];
  address.bytes[0] = static_cast<std::uint8_t>(registry >> 4);
  address.bytes[1] = static_cast<std::uint8_t>((registry & 0xF) << 4 | (address.bytes[1] & 0xF));
  return cut(address, kLengths6[random() % kLengths6.size()]);
}

std::vector<Prefix> prefixes(Family family, std::size_t count) {
  Random random(7);
  std::vector<Prefix> all;
  for (std::size_t i = 0; i < count; ++i)
    all.push_back(any_prefix(random, family));
  return all;
}

// Half are in the lists' prefixes, half anywhere near them.
std::vector<Address> asked(Family family, std::size_t count) {
  const std::vector<Prefix> listed = prefixes(family, count);
  Random random(11);
  std::vector<Address> all;
  for (std::size_t i = 0; i < kAsked; ++i) {
    const Prefix& base = i % 2 == 0 ? listed[random() % listed.size()] : any_prefix(random, family);
    Address address = base.address;
    for (unsigned bit = base.length; bit < 8 * address.size(); ++bit)
      address.bytes[bit / 8] |= static_cast<std::uint8_t>((random() & 1) << (7 - bit % 8));
    all.push_back(address);
  }
  return all;
}

std::uint32_t number_of(const Address& address) {
  return std::uint32_t{address.bytes[0]} << 24 | std::uint32_t{address.bytes[1]} << 16 |
         std::uint32_t{address.bytes[2]} << 8 | address.bytes[3];
}

void refuse(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, rte_strerror(rte_errno));
  std::exit(1);
}

std::size_t heap_used() {
  rte_malloc_socket_stats stats{};
  std::size_t used = 0;
  for (int socket = 0; socket < 2; ++socket) {
    if (rte_malloc_get_socket_stats(socket, &stats) == 0) used += stats.heap_allocsz_bytes;
  }
  return used;
}

// The simple way: the ranges' first addresses in order, as bytes.
class BinarySearch {
 public:
  BinarySearch(Family /*family*/, const std::vector<Prefix>& listed) {
    for (const Prefix& prefix : listed) {
      Address last = prefix.address;
      for (unsigned bit = prefix.length; bit < 8 * last.size(); ++bit)
        last.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80U >> bit % 8);
      ranges_.push_back({prefix.address, last});
    }
    std::sort(ranges_.begin(), ranges_.end());
    std::size_t kept = 0;
    for (const auto& range : ranges_) {
      if (kept == 0 || range.first > ranges_[kept - 1].second) ranges_[kept++] = range;
    }
    ranges_.resize(kept);
  }
  bool contains(const Address& address) const {
    const auto after =
        std::upper_bound(ranges_.begin(), ranges_.end(), address,
                         [](const Address& one, const auto& range) { return one < range.first; });
    return after != ranges_.begin() && address <= std::prev(after)->second;
  }
  std::size_t bytes() const { return ranges_.size() * sizeof ranges_[0]; }

 private:
  std::vector<std::pair<Address, Address>> ranges_;
};

using policy::PrefixSet;

class Ours {
 public:
  Ours(Family /*family*/, const std::vector<Prefix>& listed) : set_(listed) {}
  bool contains(const Address& address) const { return set_.contains(address); }
  std::size_t bytes() const { return set_.bytes(); }

 private:
  PrefixSet set_;
};

class Fib {
 public:
  Fib(Family /*family*/, const std::vector<Prefix>& listed) {
    const std::size_t before = heap_used();
    rte_fib_conf config{};
    config.type = RTE_FIB_DIR24_8;
    config.max_routes = 2 * kMost;
    config.dir24_8.nh_sz = RTE_FIB_DIR24_8_1B;
    config.dir24_8.num_tbl8 = 127;  // all that an entry of one byte can name
    if (std::any_of(listed.begin(), listed.end(), [](const Prefix& p) { return p.length > 24; })) {
      config.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
      config.dir24_8.num_tbl8 = kMost;
    }
    fib_ = rte_fib_create("fib", 0, &config);
    if (fib_ == nullptr) refuse("rte_fib_create");
    for (const Prefix& prefix : listed) {
      if (rte_fib_add(fib_, number_of(prefix.address), prefix.length, 1) != 0)
        refuse("rte_fib_add");
    }
    bytes_ = heap_used() - before;
  }
  ~Fib() { rte_fib_free(fib_); }
  Fib(const Fib&) = delete;
  Fib& operator=(const Fib&) = delete;
  bool contains(const Address& address) const {
    std::uint32_t number = number_of(address);
    std::uint64_t hop = 0;
    rte_fib_lookup_bulk(fib_, &number, &hop, 1);
    return hop != 0;
  }
  std::size_t bytes() const { return bytes_; }

 private:
  rte_fib* fib_;
  std::size_t bytes_;
};

class Fib6 {
 public:
  Fib6(Family /*family*/, const std::vector<Prefix>& listed) {
    const std::size_t before = heap_used();
    rte_fib6_conf config{};
    config.type = RTE_FIB6_TRIE;
    config.max_routes = 2 * kMost;
    config.trie.nh_sz = RTE_FIB6_TRIE_4B;
    config.trie.num_tbl8 = 1 << 20;  // 1 KiB each
    fib_ = rte_fib6_create("fib6", 0, &config);
    if (fib_ == nullptr) refuse("rte_fib6_create");
    for (const Prefix& prefix : listed) {
      if (rte_fib6_add(fib_, prefix.address.bytes.data(), prefix.length, 1) != 0)
        refuse("rte_fib6_add");
    }
    bytes_ = heap_used() - before;
  }
  ~Fib6() { rte_fib6_free(fib_); }
  Fib6(const Fib6&) = delete;
  Fib6& operator=(const Fib6&) = delete;
  bool contains(const Address& address) const {
    std::uint8_t key[1][16];
    std::copy(address.bytes.begin(), address.bytes.end(), key[0]);
    std::uint64_t hop = 0;
    rte_fib6_lookup_bulk(fib_, key, &hop, 1);
    return hop != 0;
  }
  std::size_t bytes() const { return bytes_; }

 private:
  rte_fib6* fib_;
  std::size_t bytes_;
};

template <typename Table, Family family>
void look_up(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const Table table(family, prefixes(family, count));
  const std::vector<Address> addresses = asked(family, count);
  std::size_t i = 0, found = 0;
  for (auto _ : state)
    found += table.contains(addresses[i++ % kAsked]) ? 1 : 0;
  benchmark::DoNotOptimize(found);
  state.counters["bytes"] = static_cast<double>(table.bytes());
}

// Lists of both families together, once each time.
void make(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  std::vector<Prefix> all = prefixes(Family::kIpv4, count);
  const std::vector<Prefix> more = prefixes(Family::kIpv6, count);
  all.insert(all.end(), more.begin(), more.end());
  for (auto _ : state)
    benchmark::DoNotOptimize(PrefixSet(all));
}

template <Family family>
void judge(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  policy::PeerRules::Config config;
  config.deny = prefixes(family, count);
  const policy::PeerRules rules(config);
  const std::vector<Address> addresses = asked(family, count);
  std::size_t i = 0, allowed = 0;
  for (auto _ : state)
    allowed += rules.allowed(addresses[i++ % kAsked]) ? 1 : 0;
  benchmark::DoNotOptimize(allowed);
}

const auto sizes = [](benchmark::internal::Benchmark* one) { one->Arg(10)->Arg(kMost); };

BENCHMARK_TEMPLATE(judge, Family::kIpv4)->Apply(sizes);
BENCHMARK_TEMPLATE(judge, Family::kIpv6)->Apply(sizes);
BENCHMARK_TEMPLATE(look_up, Ours, Family::kIpv4)->Apply(sizes);
BENCHMARK_TEMPLATE(look_up, BinarySearch, Family::kIpv4)->Apply(sizes);
BENCHMARK_TEMPLATE(look_up, Fib, Family::kIpv4)->Apply(sizes);
BENCHMARK_TEMPLATE(look_up, Ours, Family::kIpv6)->Apply(sizes);
BENCHMARK_TEMPLATE(look_up, BinarySearch, Family::kIpv6)->Apply(sizes);
BENCHMARK_TEMPLATE(look_up, Fib6, Family::kIpv6)->Apply(sizes);
BENCHMARK(make)->Apply(sizes)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace turnpike::bench

int main(int argc, char** argv) {
  const char* eal[] = {"bench-prefix",   "--no-huge",      "--no-shconf", "--no-pci",
                       "--no-telemetry", "--iova-mode=va", "-m",          "3072"};
  if (rte_eal_init(std::size(eal), const_cast<char**>(eal)) < 0) turnpike::bench::refuse("EAL");
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return rte_eal_cleanup();
}
