// What reading, checking and answering a STUN message costs on one core. `cycles` is of the time
// stamp counter, for each message.
#include <benchmark/benchmark.h>

#include <vector>

#include "cycles.h"
#include "turnpike/integrity.h"
#include "turnpike/nonce.h"
#include "turnpike/stun.h"
#include "wire/checksum.h"

namespace turnpike::bench {
namespace {

const Endpoint kClient{Address::v4(198, 51, 100, 7), 40000};
const Endpoint kServer{Address::v4(192, 0, 2, 1), 3478};
const stun::Key kKey =
    stun::long_term_key(stun::PasswordAlgorithm::kMd5, "alice", "example.org", "secret");

// An Allocate request as clients send it, signed.
std::vector<std::uint8_t> allocate_request() {
  std::array<std::uint8_t, 512> buffer{};
  stun::MessageWriter writer(buffer, stun::Class::kRequest, stun::Method::kAllocate, {1, 2, 3});
  writer.add_u8_rfffu(stun::Attribute::kRequestedTransport, 17);
  writer.add_text(stun::Attribute::kUsername, "alice");
  writer.add_text(stun::Attribute::kRealm, "example.org");
  writer.add_text(stun::Attribute::kNonce, std::string(41, 'n'));
  writer.add_message_integrity(kKey.view());
  writer.add_fingerprint();
  const auto bytes = writer.finish();
  return {bytes.begin(), bytes.end()};
}

template <typename Work>
void measure(benchmark::State& state, Work work) {
  std::uint64_t n = 0;
  const std::uint64_t begin = cycles_now();
  for (auto _ : state) {
    work();
    ++n;
  }
  state.counters["cycles"] = static_cast<double>(cycles_now() - begin) / static_cast<double>(n);
}

void parse(benchmark::State& state) {
  const auto bytes = allocate_request();
  measure(state, [&] {
    stun::MessageView view;
    benchmark::DoNotOptimize(stun::MessageView::parse(bytes, view));
    benchmark::DoNotOptimize(view);
  });
}

// What a worker and an engine together ask a request for.
void parse_and_find(benchmark::State& state) {
  const auto bytes = allocate_request();
  measure(state, [&] {
    stun::MessageView view;
    benchmark::DoNotOptimize(stun::MessageView::parse(bytes, view));
    for (int i = 0; i < 3; ++i) {
      for (const stun::Attribute type :
           {stun::Attribute::kMessageIntegrity, stun::Attribute::kMessageIntegritySha256,
            stun::Attribute::kUsername, stun::Attribute::kRealm, stun::Attribute::kNonce,
            stun::Attribute::kLifetime, stun::Attribute::kReservationToken}) {
        benchmark::DoNotOptimize(view.find(type));
      }
    }
  });
}

// As many empty attributes as a packet holds: refused after so many.
void parse_bomb(benchmark::State& state) {
  std::array<std::uint8_t, 1428> buffer{};
  stun::MessageWriter writer(buffer, stun::Class::kRequest, stun::Method::kAllocate, {1, 2, 3});
  for (std::size_t size = stun::kHeaderSize; size < buffer.size(); size += 4)
    writer.add(stun::Attribute::kSoftware, {});
  const auto bytes = writer.finish();
  measure(state, [&] {
    stun::MessageView view;
    benchmark::DoNotOptimize(stun::MessageView::parse(bytes, view));
  });
}

void integrity_sha1(benchmark::State& state) {
  const auto bytes = allocate_request();
  stun::MessageView view;
  if (stun::MessageView::parse(bytes, view) != stun::ParseError::kNone) std::abort();
  measure(state, [&] {
    if (!stun::check_message_integrity(view, kKey.view())) state.SkipWithError("wrong");
  });
}

// Each message is another user's, so that no key is the one before.
void integrity_sha1_new_key(benchmark::State& state) {
  const auto bytes = allocate_request();
  stun::MessageView view;
  if (stun::MessageView::parse(bytes, view) != stun::ParseError::kNone) std::abort();
  stun::Key key = kKey;
  measure(state, [&] {
    ++key.bytes[0];
    benchmark::DoNotOptimize(stun::check_message_integrity(view, key.view()));
  });
}

void nonce_check(benchmark::State& state) {
  const NonceKeeper keeper({.key = {1}});
  const Realm realm{.name = "example.org"};
  std::array<char, NonceKeeper::kMaxSize> text;
  const std::size_t size = keeper.mint(Instant{1000}, realm, kClient, kServer, text);
  measure(state, [&] {
    if (keeper.check(Instant{2000}, realm, kClient, kServer, {text.data(), size}) !=
        NonceState::kValid)
      state.SkipWithError("wrong");
  });
}

void checksum_whole(benchmark::State& state) {
  const std::vector<std::uint8_t> bytes(static_cast<std::size_t>(state.range(0)), 0x5A);
  measure(state, [&] { benchmark::DoNotOptimize(wire::sum_bytes(bytes.data(), bytes.size())); });
}

// One address and port, as a NAT changes them.
void checksum_difference(benchmark::State& state) {
  std::uint16_t checksum = 0x1234;
  std::uint16_t word = 1;
  measure(state, [&] {
    wire::ChecksumDifference difference;
    difference.replace(word, 7).replace(8, 9).replace(10, 11);
    checksum = difference.apply(checksum);
    word = checksum;
    benchmark::DoNotOptimize(checksum);
  });
}

BENCHMARK(parse);
BENCHMARK(parse_and_find);
BENCHMARK(parse_bomb);
BENCHMARK(integrity_sha1);
BENCHMARK(integrity_sha1_new_key);
BENCHMARK(nonce_check);
BENCHMARK(checksum_whole)->Arg(160)->Arg(1200);
BENCHMARK(checksum_difference);

}  // namespace
}  // namespace turnpike::bench

BENCHMARK_MAIN();
