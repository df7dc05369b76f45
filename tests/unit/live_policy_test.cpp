// What may change while the node runs, walked through: control publishes policies, workers and
// engines take each in their next round, whole, and give back the one before. Runs under
// ThreadSanitizer as well.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/published.h"
#include "control/policy.h"
#include "engine/engine_thread.h"
#include "flow_frames.h"

namespace turnpike::control {
namespace {

using namespace flow::test;
using flow::Drop;
using namespace std::chrono_literals;

constexpr const char* kRealm = "example.org";

std::uint64_t steady_ms() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

bool soon(const std::function<bool()>& so) {
  for (const std::uint64_t deadline = steady_ms() + 20'000; !so();) {
    if (steady_ms() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// --- Policies told apart by number: who is a user, which peer is refused, the realm of challenges;
// --- and by whether it is odd: TTLs and channel numbers.

std::string user_of(std::uint32_t number) {
  return "user" + std::to_string(number);
}
Address refused_by(std::uint32_t number) {
  return Address::v4(11, 0, static_cast<std::uint8_t>(number >> 8),
                     static_cast<std::uint8_t>(number));
}

std::string software_of(std::uint32_t number) {
  return "software" + std::to_string(number);
}
std::string realm_of(std::uint32_t number) {
  return "realm" + std::to_string(number);
}

engine::EnginePolicy engine_policy(std::uint32_t number) {
  auth::Accounts accounts;
  accounts.realm = kRealm;
  accounts.users = {{user_of(number), "secret", ""}};
  return {.realms = {{policy::PeerRules({.deny = {{refused_by(number), 32}}}),
                      std::make_shared<const auth::Credentials>(accounts)}},
          .server = {.realms = {{.name = kRealm}}, .software = software_of(number)}};
}

flow::WorkerPolicy worker_policy(std::uint32_t number, const NonceKeeper& nonces) {
  flow::WorkerPolicy policy(StatelessAnswers({.realms = {{.name = realm_of(number)}}}, nonces));
  policy.resets_ttl = number % 2 != 0;
  policy.channel_max = number % 2 != 0 ? 0x7FFF : 0x4FFF;
  policy.strangers = {.per_source = {0}, .all = {0}};
  return policy;
}

class LivePolicy : public testing::Test {
 protected:
  std::unique_ptr<const Policy> policy(std::uint32_t number) const {
    return std::make_unique<const Policy>(
        Policy{.worker = worker_policy(number, nonces_), .engine = engine_policy(number)});
  }
  void publish(std::uint32_t number) {
    policy_.publish(policy(number));
    published_ = number;
  }

  NonceKeeper nonces_{{.key = {1}}};
  Published<Policy> policy_{policy(0)};
  std::atomic<std::uint32_t> published_{0};
};

// Few send requests: a test looks into the engine's rounds instead, in its own thread.
class Rounds final : public EnginePort {
 public:
  std::function<void()> each = [] {};
  std::atomic<bool> asleep{false};

  // What the engine says of itself in an answer; it is asked for a challenge, in a round that
  // begins after this.
  std::string software() {
    asked_ = true;
    wake();
    if (!soon([this] { return !asked_; })) return "nothing";
    return said_;
  }

  std::size_t receive(std::span<EngineRequest> out) override {
    each();
    if (!std::exchange(due_, asked_.load())) return 0;
    std::array<std::uint8_t, 64> room;
    stun::MessageWriter writer(room, stun::Class::kRequest, stun::Method::kAllocate, {1});
    const stun::Bytes bytes = writer.finish();
    request_.assign(bytes.begin(), bytes.end());
    out[0].client = ClientEndpoint{{kClient4, kClientPort}};
    out[0].listener = 0;
    out[0].message = request_;
    return 1;
  }
  void reply(RequestToken, stun::Bytes message) override {
    stun::MessageView answer;
    static_cast<void>(stun::MessageView::parse(message, answer));
    said_ = answer.text(Attribute::kSoftware).value_or("");
    asked_ = due_ = false;
  }
  std::size_t receive(std::span<Notice>) override { return 0; }
  void discard(RequestToken) override {}
  void wait(std::uint64_t most_ns) override {
    std::unique_lock lock(mutex_);
    asleep = true;
    woken_.wait_for(lock, std::chrono::nanoseconds(most_ns), [this] { return called_; });
    asleep = called_ = false;
  }
  void wake() override {
    const std::scoped_lock lock(mutex_);
    called_ = true;
    woken_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable woken_;
  bool called_ = false;
  std::atomic<bool> asked_{false};
  bool due_ = false;  // the engine's
  std::string said_;  // the engine's while asked_, the test's else
  std::vector<std::uint8_t> request_;
};

class LivePolicyOfAnEngine : public LivePolicy {
 protected:
  static constexpr std::size_t kReader = 3;

  // Which policy the engine goes by, if it is one from `least` on: it knows one's user and refuses
  // one's peer. The engine's thread.
  std::optional<std::uint32_t> seen(std::uint32_t least) {
    for (std::uint32_t number = least; number <= published_ + 1; ++number) {
      const std::string name = user_of(number);
      UserKeys keys;
      const bool user =
          engine_.find_keys({name, {}}, 0, KeyPurpose::kAllocate, keys) == KeyState::kFound;
      const bool refuses =
          engine_.check_peer(0, kRelay4, refused_by(number)) == PeerVerdict::kForbidden;
      if (user != refuses) ++halves_;
      if (user) return number;
    }
    return std::nullopt;
  }

  static ServerConfig config() {
    ServerConfig config;
    config.realms = {{.name = kRealm}};
    config.relayed = {{kRelay4, std::nullopt}};
    return config;
  }

  std::atomic<std::uint32_t> halves_{0};
  Rounds rounds_;
  Qsbr workers_;
  OneHop hop_;
  const std::vector<Listener> listeners_{{{kServer4, kPort}}};
  flow::Tables tables_{
      flow::TableLimits{1, 16, 64, 64}, {{kRelay4, std::nullopt}}, listeners_, kHashKey, {}};
  TokenSealer tokens_{{2}};
  QuotaLedger quotas_{{0}, 16, false};
  engine::EngineThread engine_{config(),
                               {rounds_,
                                {[] { return Instant{steady_ms()}; }, steady_ms,
                                 [](Instant then) {
                                   const std::uint64_t now = steady_ms();
                                   return then.ms > now ? (then.ms - now) * 1'000'000 : 0;
                                 }},
                                [] { return true; },
                                listeners_,
                                tables_,
                                workers_,
                                hop_,
                                policy_.part<&Policy::engine>(),
                                kReader,
                                nonces_,
                                tokens_,
                                quotas_}};
};

TEST_F(LivePolicyOfAnEngine, IsTheNextRoundsAndNeverHalfOfOne) {
  std::atomic<std::uint32_t> last{0}, stale{0}, changed{0};
  std::uint32_t least = 0;
  rounds_.each = [&] {
    // What was published before this round began is not to be missed.
    const auto number = seen(least);
    if (!number) return void(++stale);
    std::this_thread::yield();
    if (seen(least) != number) ++changed;
    last = *number;
    least = published_;
  };
  ASSERT_TRUE(engine_.make_thread(false));
  engine_.start();
  for (std::uint32_t number = 1; number <= 400; ++number) {
    publish(number);
    engine_.wake();
    if (number % 8 != 0) continue;
    ASSERT_TRUE(soon([&] { return last == number; })) << number;
  }
  engine_.stop();
  EXPECT_EQ(halves_, 0U);
  EXPECT_EQ(stale, 0U);
  EXPECT_EQ(changed, 0U);
  EXPECT_EQ(policy_.reclaim(), 0U);
}

TEST_F(LivePolicyOfAnEngine, IsItsServersToo) {
  ASSERT_TRUE(engine_.make_thread(false));
  engine_.start();
  for (std::uint32_t number = 1; number <= 3; ++number) {
    publish(number);
    EXPECT_EQ(rounds_.software(), software_of(number));
  }
  engine_.stop();
}

TEST_F(LivePolicyOfAnEngine, IsGivenBackByOneThatSleeps) {
  ASSERT_TRUE(engine_.make_thread(false));
  engine_.start();
  ASSERT_TRUE(soon([&] { return rounds_.asleep.load(); }));
  for (std::uint32_t number = 1; number <= 3; ++number)
    publish(number);
  EXPECT_TRUE(soon([&] { return policy_.reclaim() == 0; })) << "and nobody woke it";
  engine_.stop();
}

// --- Workers. By whether there is a fast lane.

class LivePolicyOfAWorker : public LivePolicy, public testing::WithParamInterface<bool> {
 protected:
  static constexpr std::size_t kReader = 0;

  void take() { world_.pipeline_->use(part_.take(kReader)); }

  // Which policy the worker goes by, as its packets tell; none, if they don't tell the same.
  std::optional<std::uint32_t> seen() {
    Datagram media = channel_data(world_, 0x4000, 10);
    media.ttl = 50;
    const auto relayed = read(world_.run(frame_of(media)));
    const Drop drop = world_.run(frame_of(channel_data(world_, 0x5000, 10))).drop;
    const auto challenge = read(world_.run(frame_of(
        message(world_, stun::Class::kRequest, stun::Method::kAllocate, [](MessageWriter&) {}))));
    MessageView answer;
    if (!relayed || !challenge ||
        MessageView::parse(challenge->payload, answer) != stun::ParseError::kNone)
      return std::nullopt;
    const std::string realm(answer.text(Attribute::kRealm).value_or("realm0"));
    const auto number = static_cast<std::uint32_t>(std::stoul(realm.substr(5)));
    const bool odd = number % 2 != 0;
    if (relayed->ttl != (odd ? 64 : 49)) return std::nullopt;
    if (drop != (odd ? Drop::kNoChannel : Drop::kNotStun)) return std::nullopt;
    return number;
  }
  bool answers_binding() {
    const auto out = read(world_.run(frame_of(
        message(world_, stun::Class::kRequest, stun::Method::kBinding, [](MessageWriter&) {}))));
    return out && get16(out->payload.data()) == 0x0101;
  }

  FlowWorld world_{Family::kIpv4, true, std::nullopt, GetParam()};
  PublishedPart<flow::WorkerPolicy> part_ = policy_.part<&Policy::worker>();
};

TEST_P(LivePolicyOfAWorker, IsTheNextRoundsAndNotTheRunningOnes) {
  take();
  for (std::uint32_t number = 0; number < 4; ++number) {
    EXPECT_EQ(seen(), number);
    EXPECT_TRUE(answers_binding());
    publish(number + 1);
    EXPECT_EQ(seen(), number);
    EXPECT_TRUE(answers_binding());
    EXPECT_EQ(policy_.reclaim(), 1U) << "it is held";
    take();
    EXPECT_EQ(policy_.reclaim(), 0U);
  }
}

TEST_P(LivePolicyOfAWorker, IsNeverHalfOfOneWhileOthersArePublished) {
  constexpr std::uint32_t kPolicies = 500, kMostBehind = 4;
  std::atomic<std::uint32_t> halves{0}, stale{0}, last{0};
  std::thread worker([&] {
    while (last < kPolicies) {
      const std::uint32_t least = published_;
      take();
      const auto number = seen();
      if (!number || seen() != number || !answers_binding()) ++halves;
      if (number && *number < least) ++stale;
      last = number.value_or(kPolicies);
    }
    part_.leave(kReader);
  });
  for (std::uint32_t number = 1; number <= kPolicies; ++number) {
    publish(number);
    while (last + kMostBehind < number)
      std::this_thread::yield();
    EXPECT_LE(policy_.reclaim(), kMostBehind);
  }
  worker.join();
  EXPECT_EQ(halves, 0U);
  EXPECT_EQ(stale, 0U);
  EXPECT_EQ(policy_.reclaim(), 0U);
}

INSTANTIATE_TEST_SUITE_P(FastLane, LivePolicyOfAWorker, testing::Bool());

}  // namespace
}  // namespace turnpike::control
