// Workers judge packets of permissions, and of allocations, that come and go in the same few slots:
// a verdict never reaches the slot's next owner, nor does an end, or what has been used of a limit;
// and what passes of an allocation is never more than its limit.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "flow/police.h"
#include "flow_world.h"
#include "random.h"

namespace turnpike::flow::test {
namespace {

constexpr std::size_t kWorkers = 2;
constexpr std::uint32_t kPermissions = 7;  // odd: who follows in a slot is of the other kind
constexpr std::uint32_t kChanges = 500;

// Even ones send what is welcome, odd ones what isn't; of a change's number, so that a slot's
// owners are of both kinds.
Address peer_of(std::uint32_t change) {
  return Address::v4(203, static_cast<std::uint8_t>(change >> 16),
                     static_cast<std::uint8_t>(change >> 8), static_cast<std::uint8_t>(change));
}
bool is_welcome(const Address& peer) {
  return peer.bytes[3] % 2 == 0;
}

class PoliceRace {
 public:
  PoliceRace() {
    setup_.listeners = {{{kServer4, kPort}}};
    setup_.relayed = {{kRelay4, std::nullopt}};
    setup_.meters = &meters_;
    policy_
        .payload = std::get<std::shared_ptr<const policy::PayloadRules>>(policy::PayloadRules::make(
        {.rules = {{.name = "bad", .patterns = {{"^bad"}}, .action = policy::RuleAction::kDrop}},
         .scanned = 2,
         .workers = kWorkers}));
    AllocationFlow flow;
    flow.five_tuple = {ClientEndpoint{{kClient4, kClientPort}}, {kServer4, kPort}, Transport::kUdp};
    flow.relayed[0] = RelayEndpoint{{kRelay4, kRelayPort4}};
    flow.expires_s = {FlowWorld::kExpires, 0};
    allocation_ = writer_.publish_allocation(flow).value();
  }

  void limit(std::uint64_t packets_per_second, std::uint64_t burst) {
    policy_.meters.of(MeterLevel::kAllocation, MeterKind::kPackets) =
        MeterRate(packets_per_second, burst, kWorkers);
  }

  // Until the workers have had `enough` to do.
  template <typename Enough>
  void run(Enough enough) {
    std::vector<std::thread> workers;
    for (std::size_t i = 0; i < kWorkers; ++i)
      workers.emplace_back([this, i] { judge(i); });
    for (std::uint32_t change = 0; change < kChanges || (!enough() && change < 1000 * kChanges);
         ++change)
      replace(change);
    stop_.store(true);
    for (std::thread& worker : workers)
      worker.join();
  }

  std::atomic<std::uint64_t> passed{0}, refused{0}, limited{0};
  std::atomic<std::uint64_t> wronged{0};  // welcome ones refused, unwelcome ones let through

 private:
  // One permission's slot gets another owner, as soon as a slot is free.
  void replace(std::uint32_t change) {
    std::optional<PermissionSlot>& place = slots_[change % kPermissions];
    if (place) writer_.withdraw_permission(*place);
    do {
      writer_.housekeeping();
      place = writer_.publish_permission({allocation_, peer_of(change), FlowWorld::kExpires});
      if (!place) std::this_thread::yield();
    } while (!place);
    newest_.store(change, std::memory_order_release);
  }

  void judge(std::size_t number) {
    Police police(setup_, tables_, static_cast<std::uint16_t>(number));
    police.use(policy_);
    turnpike::test::Random random(7 + number);
    constexpr std::string_view kGood = "good", kBad = "bad";
    while (!stop_.load(std::memory_order_relaxed)) {
      qsbr_.quiescent(number);
      for (int i = 0; i < 16; ++i) {
        const std::uint32_t newest = newest_.load(std::memory_order_acquire);
        const std::uint32_t back = random.below(kPermissions);
        if (back > newest) continue;
        const auto slot = tables_.find_permission(allocation_, peer_of(newest - back));
        if (!slot) continue;
        const PermissionEntry& entry = tables_.permission(*slot);
        const bool welcome = is_welcome(entry.peer);
        const std::string_view body = welcome ? kGood : kBad;
        if (i % 4 == 0) std::this_thread::yield();
        const Drop drop =
            police.judge(Instant{1'000'000},
                         {allocation_,
                          entry.generation,
                          false,
                          Family::kIpv4,
                          &entry.payload_verdict,
                          {reinterpret_cast<const std::uint8_t*>(body.data()), body.size()}});
        if (drop == Drop::kAllocationPacketRate) {
          limited.fetch_add(1);
        } else if (drop == Drop::kNone) {
          passed.fetch_add(1);
        } else {
          refused.fetch_add(1);
        }
        if ((drop == Drop::kPayloadRule) == welcome) wronged.fetch_add(1);
      }
    }
    qsbr_.offline(number);
  }

  Setup setup_;
  OneHop hop_;
  Qsbr qsbr_;
  SharedMeters meters_{4, 4};
  Tables tables_{TableLimits{1, 4, kPermissions + 2, 4},
                 {{kRelay4, std::nullopt}},
                 {{{kServer4, kPort}}},
                 kHashKey,
                 {}};
  TableWriter writer_{tables_, 0, qsbr_, hop_};
  NonceKeeper nonces_{{.key = {1}}};
  WorkerPolicy policy_{StatelessAnswers({.realms = {{.name = "example.org"}}}, nonces_)};
  AllocationSlot allocation_{};
  std::array<std::optional<PermissionSlot>, kPermissions> slots_;
  std::atomic<std::uint32_t> newest_{0};
  std::atomic<bool> stop_{false};
};

TEST(PoliceRace, AVerdictNeverReachesASlotsNextOwner) {
  PoliceRace race;
  race.run([&] { return race.passed > 500 && race.refused > 500; });
  EXPECT_EQ(race.wronged.load(), 0U);
  EXPECT_GT(race.passed.load(), 500U) << "the workers hardly ran";
  EXPECT_GT(race.refused.load(), 500U);
}

TEST(PoliceRace, WorkersTogetherPassNoMoreThanTheLimit) {
  PoliceRace race;
  race.limit(1000, 700);
  race.run([&] { return race.limited > 100; });
  EXPECT_LE(race.passed.load(), 700U) << "time stands still";
  EXPECT_GE(race.passed.load(), 700U - kWorkers * MeterRate(1000, 700, kWorkers).quantum());
  EXPECT_GT(race.limited.load(), 100U) << "the workers hardly ran";
}

// Allocations come and go in the same few slots, each with one permission, while workers judge.
class OwnersRace {
 public:
  static constexpr std::uint32_t kOwners = 3, kMost = 5'000;  // at a time, and in all
  static constexpr std::uint32_t kBurst = 24;
  // What an owner was, or what a worker has told of him.
  struct Owner {
    AllocationSlot slot{};
    std::uint16_t generation = 0;

    friend bool operator==(const Owner&, const Owner&) = default;
  };
  struct Told {
    std::uint32_t number = 0;
    Owner owner;
  };

  OwnersRace() {
    setup_.listeners = {{{kServer4, kPort}}};
    setup_.relayed = {{kRelay4, std::nullopt}};
    setup_.meters = &meters_;
    policy_.payload =
        std::get<std::shared_ptr<const policy::PayloadRules>>(policy::PayloadRules::make(
            {.rules = {{.name = "bad", .patterns = {{"^bad"}}, .action = policy::RuleAction::kEnd}},
             .scanned = 2,
             .workers = kWorkers}));
    policy_.meters.of(MeterLevel::kAllocation, MeterKind::kPackets) = kRate;
  }

  // Until `enough` owners have had all that is theirs, and as many were to end.
  void run(std::size_t enough) {
    std::vector<std::thread> workers;
    for (std::size_t i = 0; i < kWorkers; ++i)
      workers.emplace_back([this, i] { judge(i); });
    std::uint32_t number = 0;
    while (number < kMost && (full_ < enough || ended_ < enough))
      replace(number++);
    stop_.store(true);
    for (std::thread& worker : workers)
      worker.join();
  }

  // By number.
  std::vector<Owner> owners = std::vector<Owner>(kMost);
  std::vector<std::atomic<std::uint32_t>> passed = std::vector<std::atomic<std::uint32_t>>(kMost);
  std::vector<std::atomic<std::uint32_t>> limited = std::vector<std::atomic<std::uint32_t>>(kMost);
  std::array<std::vector<Told>, kWorkers> told;
  std::atomic<std::uint64_t> wronged{0};

  static constexpr MeterRate kRate{1000, kBurst, kWorkers};

 private:
  static bool is_bad(std::uint32_t number) { return number % 5 == 0; }
  static ClientEndpoint client_of(std::uint32_t number) {
    return ClientEndpoint{{kClient4, static_cast<std::uint16_t>(1024 + number)}};
  }

  void replace(std::uint32_t number) {
    auto& place = places_[number % kOwners];
    // Each has a while to be met in.
    for (int i = 0; i < 100 && number >= kOwners && !met_[number - kOwners]; ++i)
      std::this_thread::yield();
    if (place) {
      writer_.withdraw_permission(place->second);
      writer_.withdraw_allocation(place->first);
    }
    AllocationFlow flow;
    flow.five_tuple = {client_of(number), {kServer4, kPort}, Transport::kUdp};
    flow.relayed[0] =
        RelayEndpoint{{kRelay4, static_cast<std::uint16_t>(50000 + number % kOwners)}};
    flow.expires_s = {FlowWorld::kExpires, 0};
    std::optional<AllocationSlot> slot;
    while (!slot) {
      writer_.housekeeping();
      slot = writer_.publish_allocation(flow);
      if (!slot) std::this_thread::yield();
    }
    std::optional<PermissionSlot> permission;
    while (!permission) {
      writer_.housekeeping();
      permission = writer_.publish_permission({*slot, kPeer4, FlowWorld::kExpires});
      if (!permission) std::this_thread::yield();
    }
    place = {*slot, *permission};
    owners[number] = {*slot, tables_.allocation(*slot).generation};
    newest_.store(number, std::memory_order_release);
  }

  void judge(std::size_t worker) {
    Police police(setup_, tables_, static_cast<std::uint16_t>(worker));
    police.use(policy_);
    turnpike::test::Random random(7 + worker);
    constexpr std::string_view kGood = "good", kBad = "bad";
    while (!stop_.load(std::memory_order_relaxed)) {
      qsbr_.quiescent(worker);
      for (int i = 0; i < 16; ++i) {
        const std::uint32_t newest = newest_.load(std::memory_order_acquire);
        const std::uint32_t back = random.below(kOwners);
        if (back > newest) continue;
        const std::uint32_t number = newest - back;
        const auto slot = tables_.find_client(0, client_of(number));
        if (!slot) continue;
        const auto permission = tables_.find_permission(*slot, kPeer4);
        if (!permission) continue;
        if (i % 4 == 0) std::this_thread::yield();
        const PermissionEntry& entry = tables_.permission(*permission);
        const std::string_view body = is_bad(number) ? kBad : kGood;
        const Drop drop =
            police.judge(Instant{1'000'000},
                         {*slot,
                          entry.generation,
                          false,
                          Family::kIpv4,
                          &entry.payload_verdict,
                          {reinterpret_cast<const std::uint8_t*>(body.data()), body.size()}});
        if ((drop == Drop::kPayloadRule) != is_bad(number)) wronged.fetch_add(1);
        if (drop == Drop::kNone) passed[number].fetch_add(1);
        if (drop == Drop::kAllocationPacketRate && limited[number].fetch_add(1) == 0)
          full_.fetch_add(1);
        if (drop == Drop::kAllocationPacketRate || drop == Drop::kPayloadRule) met_[number] = true;
        for (const Police::Untold& ended : police.untold()) {
          told[worker].push_back({number, {ended.notice.slot, ended.notice.generation}});
          ended_.fetch_add(1);
        }
        police.told(police.untold().size());
      }
    }
    qsbr_.offline(worker);
  }

  Setup setup_;
  OneHop hop_;
  Qsbr qsbr_;
  SharedMeters meters_{kOwners + 1, 4};
  Tables tables_{TableLimits{1, kOwners + 1, kOwners + 1, 4},
                 {{kRelay4, std::nullopt}},
                 {{{kServer4, kPort}}},
                 kHashKey,
                 {}};
  TableWriter writer_{tables_, 0, qsbr_, hop_};
  NonceKeeper nonces_{{.key = {1}}};
  WorkerPolicy policy_{StatelessAnswers({.realms = {{.name = "example.org"}}}, nonces_)};
  std::array<std::optional<std::pair<AllocationSlot, PermissionSlot>>, kOwners> places_;
  std::atomic<std::uint32_t> newest_{0};
  std::vector<std::atomic<bool>> met_ = std::vector<std::atomic<bool>>(kMost);
  std::atomic<std::size_t> full_{0}, ended_{0};
  std::atomic<bool> stop_{false};
};

TEST(PoliceRace, CreditAndEndAreTheSlotsOwnersOwn) {
  constexpr std::size_t kEnough = 50;
  OwnersRace race;
  race.run(kEnough);
  EXPECT_EQ(race.wronged.load(), 0U);
  std::size_t full = 0, ended = 0;
  for (std::uint32_t number = 0; number < OwnersRace::kMost; ++number) {
    // A worker that draws while another makes the bucket full for its new owner draws for nothing.
    EXPECT_LE(race.passed[number].load(), 2 * OwnersRace::kBurst) << number;
    if (race.limited[number].load() == 0) continue;
    ++full;
    EXPECT_GE(race.passed[number].load(),
              OwnersRace::kBurst - kWorkers * OwnersRace::kRate.quantum() - 1)
        << number << ": what the last owner has used is not the next one's loss";
  }
  for (const auto& told : race.told) {
    for (const OwnersRace::Told& one : told)
      EXPECT_EQ(one.owner, race.owners[one.number]) << "another's end";
    ended += told.size();
  }
  EXPECT_GE(full, kEnough) << "the workers hardly ran";
  EXPECT_GE(ended, kEnough);
}

}  // namespace
}  // namespace turnpike::flow::test
