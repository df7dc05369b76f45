// Clients, honest and hostile, with their peers, against shards, the real tables and several
// workers' pipelines, in virtual time, from one seed. Slots are few and come again at once; workers
// take a new policy and let go of what they hold when chance says so; rules and limits change;
// notices are heard at once, late, or when their slot has another owner. What becomes of every
// packet is held against what the models say: who may pass (model.h), what rules have found
// (verdict_model.h), and how much may (meter_model.h).
//
//   flow-simulation SHARDS RUNS SEEDS-FILE
//
// Replays the seeds in the file and RUNS new ones (TURNPIKE_SIMULATION_RUNS overrides). Prints the
// seed of a failing run; ends with 1 then, and also if something that matters never happened.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "cluster.h"
#include "flow_clients.h"
#include "flow_coverage.h"
#include "flow_judge.h"
#include "flow_world.h"
#include "seeds.h"
#include "watched_writer.h"

namespace turnpike::simulation {
namespace {

using namespace flow;  // NOLINT
using flow::test::Datagram;
using flow::test::put16;
using stun::Attribute;
using stun::Class;
using stun::MessageWriter;
using stun::Method;

constexpr std::uint32_t kNumbers = 3, kSteps = 3000;
constexpr std::uint16_t kWorkers = 3;
constexpr std::uint16_t kRoom = 128;

class World final : private Surroundings {
 public:
  World(std::uint64_t seed, unsigned shards, Coverage& coverage)
      : random_(seed),
        coverage_(coverage),
        tables_(
            TableLimits{static_cast<std::uint8_t>(shards), 12 / shards, 30 / shards, 24 / shards},
            relayed(), listeners(), flow::test::kHashKey, {}),
        cluster_(setup(shards), *this) {
    setup_.ports.resize(1);
    setup_.ports[0].mac = {2, 0, 0, 0, 0, 1};
    setup_.strangers = setup_.requests = {.sources = 64, .key = flow::test::kHashKey};
    setup_.listeners = listeners();
    setup_.relayed = relayed();
    setup_.shard_count = static_cast<std::uint8_t>(shards);
    setup_.meters = &meters_;
    setup_.fast_lane = below(4) != 0;
    publish();
    for (std::uint16_t i = 0; i < kWorkers; ++i) {
      workers_.emplace_back(std::make_unique<Worker>());
      Worker& worker = *workers_.back();
      worker.policy = policy_;
      worker.pipeline.emplace(setup_, tables_, hop_, policy_->worker, tokens_, worker.counters, i);
    }
  }

  void run() {
    for (std::uint32_t step = 0; step < kSteps; ++step) {
      cluster_.now.ms += below(200);
      if (below(500) == 0) cluster_.now.ms += 100'000;
      for (std::size_t shard = 0; shard < cluster_.size(); ++shard) {
        if (below(4) == 0) cluster_.tick(shard);
        if (below(3) != 0) writers_[shard]->tables().housekeeping();
      }
      for (std::size_t i = 0; i < kWorkers; ++i) {
        if (below(3) != 0) go_round(i);
      }
      if (below(150) == 0) publish();
      act();
      if (below(12) == 0) close(kByDatagrams + below(kClients - kByDatagrams));
      if (below(3) == 0) hear_a_notice();
      if (below(40) == 0) press(below(kByDatagrams));
      for (std::uint32_t i = below(6); i > 0; --i)
        relay(some_packet());
    }
    end();
  }

 private:
  struct Worker {
    WorkerCounters counters;
    std::shared_ptr<const Policy> policy;
    std::optional<Pipeline> pipeline;
    std::vector<Birth> ended;  // whose packets it was, by what its police has to tell
  };
  struct Told {
    Police::Untold ended;
    Birth allocation = 0;
  };
  // What a client or a peer sends, and by which way it is to go; none: by none.
  struct Sending {
    Datagram datagram;
    std::optional<Way> way;
    Body body;
  };

  std::uint32_t below(std::size_t bound) { return static_cast<std::uint32_t>(random_() % bound); }
  void saw(Event event) { ++coverage_.events[static_cast<std::size_t>(event)]; }

  static std::vector<RelayedAddress> relayed() {
    return {{kInternal4, kExternal4}, {kInternal6, std::nullopt}};
  }

  Cluster::Setup setup(unsigned shards) {
    Cluster::Setup setup;
    setup.config.realms = {{.name = kRealm}};
    setup.config.relayed = relayed();
    setup.config.port_min = 50048;
    setup.config.port_max = 50047 + 64 * 6;
    setup.config.lifetime_min_s = 40;
    setup.config.lifetime_max_s = 60;
    setup.config.permission_lifetime_s = 15;
    setup.config.channel_lifetime_s = 25;
    setup.config.port_rest_s = 2;
    setup.config.max_permissions_per_allocation = 6;
    setup.config.max_channels_per_allocation = 4;
    setup.shards = shards;
    setup.users = users();
    setup.quotas.user = {4, 15, 12};
    setup.nonce_lifetime_s = 600;
    setup.remembers_ghosts = true;
    for (unsigned i = 0; i < shards; ++i) {
      writers_.push_back(std::make_unique<WatchedWriter>(tables_, static_cast<std::uint8_t>(i),
                                                         qsbr_, hop_, births_));
      setup.sinks.push_back(writers_.back().get());
    }
    return setup;
  }

  std::uint32_t random_below(std::uint32_t bound) override { return below(bound); }
  bool sink_is_full() override { return false; }
  KeyState find_keys(std::size_t /*shard*/, const UserName& name, KeyPurpose /*purpose*/,
                     UserKeys& out) override {
    out = find_user(users(), name)->keys;
    return KeyState::kFound;
  }
  bool is_gone(const User& /*user*/) const override { return false; }
  void told(const Sent& /*sent*/, const stun::MessageView& answer) override {
    if (answer.error_code() == 508) saw(Event::kNoRoom);
  }

  // Policies.
  void publish() {
    const auto policy = std::make_shared<Policy>(stateless_);
    if (policy_ != nullptr && below(3) == 0) {
      policy->rules = policy_->rules;
    } else if (below(4) != 0) {
      policy->rules =
          some_rules([this](std::size_t bound) { return below(bound); }, ++epoch_, kWorkers);
    }
    if (policy->rules) policy->worker.payload = policy->rules->set;
    set_limits(
        *policy, [this](std::size_t bound) { return below(bound); }, kWorkers);
    policy_ = policy;
  }
  void go_round(std::size_t i) {
    Worker& worker = *workers_[i];
    qsbr_.quiescent(i);
    hand_over(worker);
    if (worker.policy == policy_) return;
    worker.policy = policy_;
    worker.pipeline->use(policy_->worker);
    const bool settled = std::all_of(workers_.begin(), workers_.end(),
                                     [this](const auto& one) { return one->policy == policy_; });
    judge_.changed(settled, births_);
  }

  // Requests.
  void act() {
    const std::uint32_t client = below(kClients);
    static constexpr std::array<Method, 8> kMix{
        Method::kRefresh,          Method::kRefresh,     Method::kCreatePermission,
        Method::kCreatePermission, Method::kChannelBind, Method::kChannelBind,
        Method::kChannelBind,      Method::kAllocate};
    const bool has = cluster_.model().allocations().contains(five_tuple(client));
    ask(client, has ? kMix[below(kMix.size())] : Method::kAllocate);
  }
  void ask(std::uint32_t client, Method method, bool ends = false) {
    const FiveTuple from = five_tuple(client);
    std::array<std::uint8_t, 512> buffer{};
    stun::TransactionId id{};
    ++transactions_;
    std::memcpy(id.data(), &transactions_, sizeof transactions_);
    MessageWriter writer(buffer, Class::kRequest, method, id);
    if (method == Method::kAllocate) {
      writer.add_u8_rfffu(Attribute::kRequestedTransport, 17);
      if (below(3) == 0) writer.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2);
    }
    if (method == Method::kRefresh && (ends || below(2) == 0))
      writer.add_u32(Attribute::kLifetime, 0);
    if (method == Method::kChannelBind)
      writer.add_channel_number(static_cast<ChannelNumber>(0x4000 + below(kNumbers)));
    if (method == Method::kChannelBind || method == Method::kCreatePermission)
      writer.add_xor_address(Attribute::kXorPeerAddress, some_peer());
    const UserKeys& user = users()[user_of(from)].keys;
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size = cluster_.nonces().mint(cluster_.now, cluster_.config().realms[0],
                                                    from.client, from.server, nonce);
    writer.add_text(Attribute::kUsername, user.username);
    writer.add_text(Attribute::kRealm, kRealm);
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
    writer.add_message_integrity(user.md5[0].view());
    const stun::Bytes bytes = writer.finish();
    const Birth before = births_;
    cluster_.hand({from, {bytes.begin(), bytes.end()}}, tables_.home_shard(0, from.client));
    if (method == Method::kAllocate && births_ != before) {
      const auto slot = *tables_.find_client(listener_of(client), from.client);
      if (!slots_used_.insert(slot).second) saw(Event::kSlotAgain);
    }
  }
  Endpoint some_peer() {
    const auto port = static_cast<std::uint16_t>(1000 + below(2));
    if (below(4) == 0) return {*Address::parse("2001:db8:1::5"), port};
    return {Address::v4(203, 0, 113, static_cast<std::uint8_t>(below(2))), port};
  }

  // Packets.
  std::vector<std::uint8_t> some_body(Sending& sending) {
    sending.body = {below(Rules::kWords.size()), 1 + below(Body::kMost)};
    std::vector<std::uint8_t> body(sending.body.size, '.');
    body[0] = static_cast<std::uint8_t>(*Rules::kWords[sending.body.word]);
    return body;
  }
  Sending some_packet() {
    const FiveTuple client = five_tuple(below(kByDatagrams));
    switch (below(3)) {
      case 0:
        return over_channel(client, static_cast<ChannelNumber>(0x4000 + below(kNumbers)));
      case 1:
        return by_send(client, some_peer());
      default:
        return from_peer(client, some_peer());
    }
  }
  Sending over_channel(const FiveTuple& client, ChannelNumber number) {
    Sending sending;
    const auto body = some_body(sending);
    sending.datagram = {.source = client.client, .destination = client.server};
    auto& payload = sending.datagram.payload;
    payload.resize(4);
    put16(payload.data(), number);
    put16(payload.data() + 2, static_cast<std::uint16_t>(body.size()));
    payload.insert(payload.end(), body.begin(), body.end());
    cluster_.check();
    if (const auto peer = cluster_.model().by_channel(client, number))
      sending.way = way_of(client, false, *peer, *peer, number);
    return sending;
  }
  Sending by_send(const FiveTuple& client, const Endpoint& peer) {
    Sending sending;
    const auto body = some_body(sending);
    std::vector<std::uint8_t> buffer(1024);
    MessageWriter writer(buffer, Class::kIndication, Method::kSend, {1, 2, 3});
    writer.add_xor_address(Attribute::kXorPeerAddress, peer);
    writer.add(Attribute::kData, body);
    const stun::Bytes bytes = writer.finish();
    sending.datagram = {.source = client.client,
                        .destination = client.server,
                        .payload = {bytes.begin(), bytes.end()}};
    cluster_.check();
    if (cluster_.model().by_send(client, peer.address))
      sending.way = way_of(client, false, peer, peer, std::nullopt);
    return sending;
  }
  // To a relayed address of this client's, or, if it has none, of nobody's.
  Sending from_peer(const FiveTuple& client, const Endpoint& peer) {
    Sending sending;
    const auto body = some_body(sending);
    const std::size_t family = family_index(peer.address.family);
    Endpoint relayed{family == 0 ? kInternal4 : kInternal6, 50000};
    for (const auto& writer : writers_) {
      const WatchedWriter::Born* born = writer->allocation(client);
      if (born != nullptr && born->flow.relayed[family]) relayed = *born->flow.relayed[family];
    }
    sending.datagram = {.source = peer, .destination = relayed, .payload = body};
    cluster_.check();
    const Endpoint named{public_of(cluster_.config(), relayed.address), relayed.port};
    if (const auto found = cluster_.model().from_peer(named, peer))
      sending.way = way_of(found->five_tuple, true, found->five_tuple.client, peer, found->channel);
    return sending;
  }
  // As it has been promised.
  Way way_of(const FiveTuple& client, bool to_client, const Endpoint& to, const Endpoint& peer,
             std::optional<ChannelNumber> number) const {
    for (const auto& writer : writers_) {
      const WatchedWriter::Born* owner = writer->allocation(client);
      if (owner == nullptr) continue;
      const auto* channel = number ? writer->channel(client, *number) : nullptr;
      const auto* permission = writer->permission(client, peer.address);
      require(number ? channel != nullptr : permission != nullptr, "a promise isn't published");
      return {client,
              to_client,
              to,
              peer.address.family,
              channel != nullptr ? channel->birth : permission->birth,
              *owner,
              user_of(client)};
    }
    throw Failure{"a promised allocation isn't published"};
  }

  void relay(const Sending& sending) {
    const std::uint32_t by = below(kWorkers);
    Worker& worker = *workers_[by];
    Packet packet = flow::test::arrived(buffer_, flow::test::frame_of(sending.datagram), kRoom);
    const Police& police = worker.pipeline->police();
    const std::size_t ended = police.untold().size();
    worker.pipeline->process(cluster_.now, {&packet, 1});
    const bool passes = packet.verdict == Verdict::kTransmit;
    const Fate fate{by, passes ? Drop::kNone : packet.drop, police.untold().size() != ended};
    if (packet.verdict == Verdict::kDrop) ++coverage_.drops[static_cast<std::size_t>(fate.drop)];
    if (!sending.way) {
      require(!passes, "a packet passes that nothing lets pass");
      require(!fate.ends, "a packet without a way ends an allocation");
      return;
    }
    const Way& way = *sending.way;
    require(passes || packet.verdict == Verdict::kDrop, "a packet that may pass goes elsewhere");
    if (fate.ends) worker.ended.push_back(way.owner.birth);
    judge_.judge(cluster_.now, *worker.policy, way, sending.body, fate);
    if (!passes) return;
    saw(Event::kPass);
    const auto out = flow::test::read(packet);
    require(out && out->destination == way.to, "a packet goes astray");
  }

  // One flow of the client's, by all workers, as hard as it goes; and sometimes again when it has
  // ended its allocation, or all of its user's, and has come back, most likely to the same slot.
  void press(std::uint32_t client) {
    do {
      Sending sending = some_packet();
      for (int i = 0; i < 60 && !is_of(sending, client); ++i)
        sending = some_packet();
      if (is_of(sending, client)) press(sending);
    } while (below(3) == 0 && comes_again(client));
  }
  static bool is_of(const Sending& sending, std::uint32_t client) {
    return sending.way && sending.way->five_tuple == five_tuple(client);
  }
  void press(const Sending& sending) {
    for (std::uint32_t i = 50 + below(400); i > 0; --i) {
      relay(sending);
      if (below(20) != 0) continue;
      const Instant then = cluster_.now + below(4);
      if (now_s(then) != now_s(cluster_.now)) return;  // its way may be over
      cluster_.now = then;
    }
  }
  bool comes_again(std::uint32_t client) {
    const bool all = below(2) == 0;
    for (std::uint32_t one = 0; one < kClients; ++one) {
      if (one == client || (all && user_of(five_tuple(one)) == user_of(five_tuple(client))))
        ask(one, Method::kRefresh, true);
    }
    for (int i = 0; i < 2; ++i) {
      for (const auto& writer : writers_)
        writer->tables().housekeeping();
      for (std::size_t worker = 0; worker < kWorkers; ++worker)
        go_round(worker);
    }
    ask(client, Method::kAllocate);
    for (int i = 0; i < 3; ++i)
      ask(client, Method::kCreatePermission);
    return cluster_.model().allocations().contains(five_tuple(client));
  }

  // Notices.
  // The client's connection ends, and it may come back by another from the same port.
  void close(std::uint32_t client) {
    const FiveTuple by = five_tuple(client);
    Worker& worker = *workers_[below(kWorkers)];
    const Police& police = worker.pipeline->police();
    const std::size_t before = police.untold().size();
    require(worker.pipeline->stream_closed(listener_of(client), by.client), "a close is lost");
    const Birth birth = born_by(by);
    require((police.untold().size() != before) == (birth != 0),
            "a close is told of nobody, or isn't told");
    if (birth != 0) worker.ended.push_back(birth);
  }
  Birth born_by(const FiveTuple& five_tuple) const {
    for (const auto& writer : writers_) {
      if (const auto* born = writer->allocation(five_tuple)) return born->birth;
    }
    return 0;
  }
  void hand_over(Worker& worker) {
    Police& police = worker.pipeline->police();
    for (std::size_t i = 0; i < police.untold().size(); ++i)
      told_.push_back({police.untold()[i], worker.ended[i]});
    police.told(police.untold().size());
    worker.ended.clear();
  }
  void hear_a_notice() {
    if (told_.empty() || below(told_.size() + 4) < 4) return;
    const std::size_t which = below(told_.size());
    const Told told = told_[which];
    told_.erase(told_.begin() + static_cast<std::ptrdiff_t>(which));
    const Notice& notice = told.ended.notice;
    const bool closed = notice.kind == Notice::Kind::kClosed;
    WatchedWriter& writer = *writers_[told.ended.shard];
    const WatchedWriter::Born* owner = writer.allocation(notice.slot);
    if (!writer.tables().has(notice.slot, notice.generation)) {
      require(writer.born(told.allocation) == nullptr, "a notice is lost");
      if (closed) return saw(owner == nullptr ? Event::kLateClose : Event::kMistakableClose);
      return saw(owner == nullptr ? Event::kLate : Event::kMistakable);
    }
    require(owner != nullptr && owner->birth == told.allocation, "a notice ends another's");
    require(cluster_.end(told.ended.shard, notice.slot, closed), "a notice ends nothing");
    saw(closed ? Event::kClose : Event::kEnd);
  }

  void end() {
    cluster_.end();
    for (int i = 0; i < 6; ++i) {
      for (const auto& writer : writers_)
        writer->tables().housekeeping();
      for (std::size_t worker = 0; worker < kWorkers; ++worker)
        go_round(worker);
    }
    for (const auto& writer : writers_)
      require(writer->tables().retired() == 0, "a slot is lost");
    for (std::uint8_t shard = 0; shard < cluster_.size(); ++shard) {
      const Tables::Usage usage = tables_.usage(shard);
      require(usage.allocations == 0 && usage.permissions == 0 && usage.channels == 0,
              "the tables keep something");
    }
    while (!told_.empty())
      hear_a_notice();
  }

  std::mt19937_64 random_;
  Coverage& coverage_;
  Setup setup_;
  flow::test::OneHop hop_;
  Qsbr qsbr_;
  Tables tables_;
  Birth births_ = 0;
  std::vector<std::unique_ptr<WatchedWriter>> writers_;
  Cluster cluster_;
  SharedMeters meters_{12, 64};
  TokenSealer tokens_{{8}};
  StatelessAnswers stateless_{{.realms = {{.name = kRealm}}}, cluster_.nonces()};
  std::shared_ptr<const Policy> policy_;
  std::uint16_t epoch_ = 0;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::uint8_t> buffer_;
  std::uint64_t transactions_ = 0;
  std::set<AllocationSlot> slots_used_;
  FlowJudge judge_{kWorkers};
  std::vector<Told> told_;
};

bool run(std::uint64_t seed, unsigned shards, Coverage& coverage) {
  try {
    World(seed, shards, coverage).run();
    return true;
  } catch (const Failure& failure) {
    std::fprintf(stderr, "seed %llu with %u shards: %s\n", static_cast<unsigned long long>(seed),
                 shards, failure.what.c_str());
    return false;
  }
}

}  // namespace
}  // namespace turnpike::simulation

int main(int argc, char** argv) {
  using namespace turnpike::simulation;
  Coverage coverage{};
  return run_seeds(
      argc, argv, [&](std::uint64_t seed, unsigned shards) { return run(seed, shards, coverage); },
      [&] { return everything_happened(coverage); });
}
