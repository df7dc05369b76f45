// The flow tables under fire: shards publish, expire and reuse relay ports as fast as they can
// while readers look up. Made for ThreadSanitizer, but what it asserts needs none: no reader ever
// finds another's entry, no entry changes while a reader may hold it, and what is always there is
// always found.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "random.h"
#include "tables/hash_index.h"
#include "tables/tables.h"

namespace turnpike::flow {
namespace {

using turnpike::test::Random;

constexpr std::uint32_t kClientsPerShard = 24;  // more than there are slots
constexpr std::uint32_t kSlotsPerShard = 16;    // few, so that reuse never ends
constexpr std::uint32_t kStablePerShard = 2;    // published first and never withdrawn
constexpr std::uint16_t kPortsPerShard = 64;    // one block
constexpr std::uint16_t kFirstPort = 49152;
constexpr std::uint32_t kPublications = 15000;  // by each shard
constexpr std::size_t kReaders = 2;
constexpr ChannelNumber kNumber = 0x4000;

const Endpoint kListener{Address::v4(192, 0, 2, 1), 3478};
const Address kRelay = Address::v4(192, 0, 2, 9);
const HashKey kKey{0x0123456789abcdef, 0xfedcba9876543210, 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f};

class OneRoute final : public NextHopResolver {
 public:
  NextHopIndex resolve(const Journey&) override { return NextHopIndex{1}; }
  void release(NextHopIndex) override {}
  std::uint32_t epoch() const override { return epoch_.load(std::memory_order_relaxed); }
  NextHop* table() override { return nullptr; }
  void change() { epoch_.fetch_add(1, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint32_t> epoch_{0};
};

Endpoint client(std::uint32_t n) {
  return {Address::v4(10, 0, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)),
          static_cast<std::uint16_t>(2000 + n)};
}

// A peer that only the allocation of this client and this relay port has.
Endpoint peer_of(const Endpoint& client, std::uint16_t relay_port) {
  return {Address::v4(198, static_cast<std::uint8_t>(client.port - 2000),
                      static_cast<std::uint8_t>(relay_port >> 8),
                      static_cast<std::uint8_t>(relay_port)),
          9};
}

struct Published {
  AllocationSlot allocation{};
  PermissionSlot permission{};
  ChannelSlot channel{};
};

// One shard. Its clients are numbered without regard to home shards, so most are away from home.
class Shard {
 public:
  Shard(Tables& tables, std::uint8_t index, Qsbr& qsbr, OneRoute& routes)
      : writer_(tables, index, qsbr, routes), index_(index), routes_(routes), random_(index + 1) {
    for (std::uint32_t n = 0; n < kStablePerShard; ++n)
      publish(n, n);
  }

  void run() {
    for (std::uint32_t step = 0; publications_ < kPublications; ++step) {
      const std::uint32_t n = kStablePerShard + random_.below(kClientsPerShard - kStablePerShard);
      if (live_[n]) {
        withdraw(n);
      } else if (!publish_at_random_port(n)) {
        std::this_thread::yield();
      }
      writer_.housekeeping();
      if (step % 1024 == 0) routes_.change();
    }
  }

  std::uint32_t publications() const { return publications_; }

 private:
  bool publish_at_random_port(std::uint32_t n) {
    const std::uint32_t port = kStablePerShard + random_.below(kPortsPerShard - kStablePerShard);
    return !port_taken_[port] && publish(n, port);
  }

  bool publish(std::uint32_t n, std::uint32_t port_offset) {
    const Endpoint from = client(index_ * kClientsPerShard + n);
    const auto port =
        static_cast<std::uint16_t>(kFirstPort + index_ * kPortsPerShard + port_offset);
    const Endpoint peer = peer_of(from, port);
    AllocationFlow flow;
    flow.five_tuple.client = ClientEndpoint{from};
    flow.five_tuple.server = kListener;
    flow.relayed[0] = RelayEndpoint{{kRelay, port}};
    flow.expires_s[0] = 600;
    const auto allocation = writer_.publish_allocation(flow);
    if (!allocation) return false;
    // The kinds' grace periods end apart: what was full is undone.
    const auto permission = writer_.publish_permission({*allocation, peer.address, 300});
    if (!permission) {
      writer_.withdraw_allocation(*allocation);
      return false;
    }
    const auto channel =
        writer_.publish_channel({*allocation, *permission, kNumber, PeerEndpoint{peer}, 600});
    if (!channel) {
      writer_.withdraw_permission(*permission);
      writer_.withdraw_allocation(*allocation);
      return false;
    }
    ++publications_;
    writer_.extend_relayed(*allocation, Family::kIpv4, 700);
    live_[n] = Published{*allocation, *permission, *channel};
    ports_[n] = port_offset;
    port_taken_[port_offset] = true;
    return true;
  }

  void withdraw(std::uint32_t n) {
    writer_.withdraw_channel(live_[n]->channel);
    writer_.withdraw_permission(live_[n]->permission);
    writer_.withdraw_allocation(live_[n]->allocation);
    live_[n].reset();
    port_taken_[ports_[n]] = false;
  }

  TableWriter writer_;
  std::uint32_t index_;
  OneRoute& routes_;
  Random random_;
  std::array<std::optional<Published>, kClientsPerShard> live_;
  std::array<std::uint32_t, kClientsPerShard> ports_{};
  std::array<bool, kPortsPerShard> port_taken_{};
  std::uint32_t publications_ = 0;
};

// A worker's view. Every field is this thread's own until it has been joined.
class Reader {
 public:
  Reader(const Tables& tables, Qsbr& qsbr, std::size_t index, std::uint32_t shards)
      : tables_(tables), qsbr_(qsbr), index_(index), shards_(shards), random_(100 + index) {}

  void run(const std::atomic<bool>& stop) {
    for (std::uint32_t burst = 0; !stop.load(std::memory_order_relaxed); ++burst) {
      qsbr_.quiescent(index_);
      look_up_burst();
      if (burst % 16 != 0) continue;
      qsbr_.offline(index_);
      std::this_thread::yield();
    }
    qsbr_.offline(index_);
  }

  std::uint64_t found = 0;
  std::uint64_t channels_found = 0;
  std::uint64_t wrong_owner = 0;     // an entry that isn't the key's
  std::uint64_t changed = 0;         // an entry that changed while it was held
  std::uint64_t stable_missing = 0;  // a key that was always there and wasn't found

 private:
  struct Held {
    const AllocationEntry* entry;
    Endpoint client;
    std::uint16_t port;
  };
  static constexpr std::size_t kBurst = 8;

  void look_up_burst() {
    held_count_ = 0;
    look_up_clients();
    for (std::size_t i = 0; i < kBurst; ++i) {
      const std::uint32_t offset = random_.below(shards_ * kPortsPerShard);
      look_up_port(static_cast<std::uint16_t>(kFirstPort + offset));
    }
    look_up_stable();
    for (std::size_t i = 0; i < held_count_; ++i) {
      const Held& held = held_[i];
      if (held.entry->client != held.client || held.entry->relayed[0].port != held.port) ++changed;
    }
  }

  void look_up_clients() {
    std::array<ClientKey, kBurst> keys;
    for (ClientKey& key : keys)
      key = {client(random_.below(shards_ * kClientsPerShard)), 0};
    std::array<AllocationSlot, kBurst> slots;
    tables_.find_clients(keys, slots);
    for (std::size_t i = 0; i < kBurst; ++i) {
      if (slots[i] == kNoAllocationSlot) continue;
      if (tables_.allocation(slots[i]).client != keys[i].client) ++wrong_owner;
      follow(slots[i]);
    }
  }

  void look_up_port(std::uint16_t port) {
    const auto slot = tables_.find_relay(kRelay, port);
    if (!slot) return;
    if (tables_.allocation(*slot).relayed[0].port != port) ++wrong_owner;
    follow(*slot);
  }

  // Whatever is found by way of an allocation must be that very allocation's.
  void follow(AllocationSlot slot) {
    ++found;
    const AllocationEntry& entry = tables_.allocation(slot);
    held_[held_count_++] = {&entry, entry.client, entry.relayed[0].port};
    const Endpoint peer = peer_of(entry.client, entry.relayed[0].port);
    if (const auto permission = tables_.find_permission(slot, peer.address)) {
      if (tables_.permission(*permission).peer != peer.address) ++wrong_owner;
    }
    if (const auto channel = tables_.find_channel(slot, kNumber)) {
      ++channels_found;
      const ChannelEntry& found_channel = tables_.channel(*channel);
      if (static_cast<const Endpoint&>(found_channel.peer) != peer) ++wrong_owner;
      if (found_channel.relayed.port != entry.relayed[0].port) ++wrong_owner;
    }
  }

  void look_up_stable() {
    const std::uint32_t shard = random_.below(shards_);
    const std::uint32_t n = random_.below(kStablePerShard);
    const Endpoint from = client(shard * kClientsPerShard + n);
    const auto port = static_cast<std::uint16_t>(kFirstPort + shard * kPortsPerShard + n);
    const Endpoint peer = peer_of(from, port);
    const auto slot = tables_.find_client(0, from);
    if (!slot || tables_.find_relay(kRelay, port) != slot ||
        !tables_.find_permission(*slot, peer.address) || !tables_.find_channel(*slot, kNumber) ||
        !tables_.find_channel(*slot, peer)) {
      ++stable_missing;
    }
  }

  const Tables& tables_;
  Qsbr& qsbr_;
  std::size_t index_;
  std::uint32_t shards_;
  Random random_;
  std::array<Held, 2 * kBurst> held_{};
  std::size_t held_count_ = 0;
};

void race(std::uint8_t shard_count) {
  TableLimits limits;
  limits.shards = shard_count;
  limits.allocations_per_shard = kSlotsPerShard;
  limits.permissions_per_shard = kSlotsPerShard;
  limits.channels_per_shard = kSlotsPerShard;
  std::vector<std::atomic<std::uint64_t>> live_ports(65536 / 64);
  Tables tables(limits, {{kRelay, std::nullopt}}, {{kListener}}, kKey, {live_ports.data()});
  Qsbr qsbr;
  OneRoute routes;
  std::vector<std::unique_ptr<Shard>> shards;
  for (std::uint8_t i = 0; i < shard_count; ++i) {
    shards.push_back(std::make_unique<Shard>(tables, i, qsbr, routes));
  }
  std::vector<std::unique_ptr<Reader>> readers;
  for (std::size_t i = 0; i < kReaders; ++i) {
    readers.push_back(std::make_unique<Reader>(tables, qsbr, i, shard_count));
  }

  std::atomic<bool> stop{false};
  std::vector<std::thread> reading;
  reading.reserve(readers.size());
  for (auto& reader : readers)
    reading.emplace_back([&] { reader->run(stop); });
  std::vector<std::thread> writing;
  writing.reserve(shards.size());
  for (auto& shard : shards)
    writing.emplace_back([&] { shard->run(); });
  for (std::thread& thread : writing)
    thread.join();
  stop.store(true, std::memory_order_relaxed);
  for (std::thread& thread : reading)
    thread.join();

  for (const auto& reader : readers) {
    EXPECT_EQ(reader->wrong_owner, 0u);
    EXPECT_EQ(reader->changed, 0u);
    EXPECT_EQ(reader->stable_missing, 0u);
    EXPECT_GT(reader->found, 100u) << "the readers hardly ran";
    EXPECT_GT(reader->channels_found, 100u);
  }
}

TEST(TablesRace, ReadersNeverMeetAnotherOwnersEntryWithOneShard) {
  race(1);
}

TEST(TablesRace, ReadersNeverMeetAnotherOwnersEntryWithThreeShards) {
  race(3);
}

// All keys have one home and differ in nothing else: the stable one lies buckets away from it,
// behind others that come and go, and a reader must find its way every time.
TEST(HashIndexRace, KeepsFindingAKeyThatOverflowedWhileOthersComeAndGo) {
  constexpr std::uint32_t kOthers = 20;
  constexpr std::uint32_t kStable = kOthers;
  HashIndex index(64);
  for (std::uint32_t slot = 0; slot <= kStable; ++slot)
    index.insert(0, slot);

  std::atomic<bool> stop{false};
  std::array<std::uint64_t, kReaders> missed{};
  std::array<std::uint64_t, kReaders> looked{};
  std::vector<std::thread> reading;
  for (std::size_t i = 0; i < kReaders; ++i) {
    reading.emplace_back([&, i] {
      do {
        ++looked[i];
        const auto found = index.find(0, [](std::uint32_t slot) { return slot == kStable; });
        if (found != kStable) ++missed[i];
      } while (!stop.load(std::memory_order_relaxed));
    });
  }
  Random random(1);
  std::array<bool, kOthers> there;
  there.fill(true);
  for (int step = 0; step < 500000; ++step) {
    const std::uint32_t slot = random.below(kOthers);
    there[slot] ? index.erase(0, slot) : index.insert(0, slot);
    there[slot] = !there[slot];
  }
  stop.store(true, std::memory_order_relaxed);
  for (std::thread& thread : reading)
    thread.join();
  for (std::size_t i = 0; i < kReaders; ++i) {
    EXPECT_EQ(missed[i], 0u) << "of " << looked[i];
    EXPECT_GT(looked[i], 0u);
  }
}

}  // namespace
}  // namespace turnpike::flow
