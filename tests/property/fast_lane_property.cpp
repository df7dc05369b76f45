// The fast lane and the general stages come to the same result: two worlds, of which one has no
// fast lane, get the same frames, right ones, odd ones and broken ones, and must agree in every
// verdict, byte and counter.
#include <rapidcheck.h>

#include <algorithm>

#include "flow_world.h"
#include "turnpike/stun.h"

namespace {

using namespace turnpike;
using namespace turnpike::flow;
using namespace turnpike::flow::test;

const Address kExternal4 = Address::v4(203, 0, 113, 77);

// What the world is like besides the frames.
struct Scene {
  Family client = Family::kIpv4;
  std::uint16_t port = kPort;     // where the client has come to
  Family ending = Family::kIpv4;  // which of the two permissions, channels, relayed addresses ends
  bool channels = true;
  bool external = false;
  std::size_t more_channels =
      0;  // to further ports of the IPv4 peer, so that not all are among the first
  bool permission_ends = false;
  bool channel_ends = false;
  bool allocation_ends = false;
  bool no_route = false;
  bool resets_ttl = false;
  std::optional<Prefix> denied;               // of clients
  std::uint16_t client_mtu = PathMtu::kNone;  // as ICMP has told
  std::uint16_t peer_mtu = PathMtu::kNone;
  bool told_long_ago = false;
  std::uint8_t looked_into = 0;  // by payload rules; 0: there are none
};

// Some of what random bodies begin with is dropped, counted, limited (to what is never met here:
// the schedules may meet a rate in another order) or ends its allocation.
std::shared_ptr<const policy::PayloadRules> make_rules(std::uint8_t looked_into) {
  using policy::RuleAction;
  policy::PayloadRules::Config config;
  config.rules = {{.name = "a", .patterns = {{"^[\\x00-\\x1f]"}}, .action = RuleAction::kDrop},
                  {.name = "b", .patterns = {{"^[\\x20-\\x4f]"}}, .action = RuleAction::kCount},
                  {.name = "c",
                   .patterns = {{"^[\\x50-\\x6f]"}},
                   .action = RuleAction::kLimit,
                   .bits_per_second = 8'000'000'000},
                  {.name = "d", .patterns = {{"^[\\x70-\\x7f]"}}, .action = RuleAction::kEnd}};
  config.scanned = looked_into;
  return std::get<std::shared_ptr<const policy::PayloadRules>>(
      policy::PayloadRules::make(std::move(config)));
}

class World : public FlowWorld {
 public:
  World(const Scene& scene, bool fast_lane)
      : FlowWorld(scene.client, scene.channels,
                  scene.external ? std::optional(kExternal4) : std::nullopt, fast_lane,
                  scene.port) {
    for (std::size_t i = 0; i < scene.more_channels; ++i) {
      const auto port = static_cast<std::uint16_t>(kPeerPort + 1 + i);
      channels_.push_back(*writer_->publish_channel({allocation_, permissions_[0],
                                                     static_cast<ChannelNumber>(0x4100 + i),
                                                     PeerEndpoint{{kPeer4, port}}, kExpires}));
    }
    const std::size_t ending = family_index(scene.ending);
    if (scene.permission_ends) writer_->extend_permission(permissions_[ending], 1);
    if (scene.channel_ends && scene.channels) writer_->extend_channel(channels_[ending], 1);
    if (scene.allocation_ends) writer_->extend_relayed(allocation_, scene.ending, 1);
    // A second client, whose relayed address the first has a permission and a channel for: hairpin.
    other_ = add({{client_.address, kClientPort + 1}}, kRelayPort4 + 2, kRelayPort6 + 2);
    ChannelNumber number = 0x4200;
    for (const Endpoint& there : {Endpoint{scene.external ? kExternal4 : kRelay4, kRelayPort4 + 2},
                                  Endpoint{kRelay6, kRelayPort6 + 2}}) {
      const auto permission = *writer_->publish_permission({allocation_, there.address, kExpires});
      *writer_->publish_permission({other_, there.address, kExpires});
      if (scene.channels)
        *writer_->publish_channel(
            {allocation_, permission, number++, PeerEndpoint{there}, kExpires});
    }
    if (scene.no_route) hop_.answer = kNoNextHop;
    const std::uint32_t then = scene.told_long_ago ? 1000 - 700 : 1000;
    if (scene.client_mtu != PathMtu::kNone)
      tables_->allocation(allocation_).lower_path_mtu(then, scene.client_mtu);
    if (scene.peer_mtu != PathMtu::kNone) {
      for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        const std::size_t i = family_index(family);
        tables_->permission(permissions_[i]).path_mtu.lower(then, family, scene.peer_mtu);
        if (scene.channels)
          tables_->channel(channels_[i]).path_mtu.lower(then, family, scene.peer_mtu);
      }
    }
    policy_.resets_ttl = scene.resets_ttl;
    if (scene.looked_into != 0) policy_.payload = make_rules(scene.looked_into);
    if (scene.denied) {
      const std::array denied{*scene.denied};
      policy_.clients = policy::ClientRules({}, policy::PrefixSet(denied));
    }
    pipeline_->use(policy_);
  }

  AllocationSlot other_{};
};

Family any_family() {
  return *rc::gen::element(Family::kIpv4, Family::kIpv6);
}

Scene any_scene() {
  Scene scene;
  scene.client = any_family();
  scene.port = *rc::gen::weightedElement<std::uint16_t>({{3, kPort}, {1, kTurnOnlyPort}});
  scene.ending = any_family();
  scene.channels = *rc::gen::weightedElement<bool>({{4, true}, {1, false}});
  scene.external = *rc::gen::weightedElement<bool>({{1, true}, {4, false}});
  scene.more_channels = *rc::gen::inRange<std::size_t>(0, 4);
  scene.permission_ends = *rc::gen::weightedElement<bool>({{1, true}, {6, false}});
  scene.channel_ends = *rc::gen::weightedElement<bool>({{1, true}, {6, false}});
  scene.resets_ttl = *rc::gen::weightedElement<bool>({{1, true}, {3, false}});
  if (*rc::gen::arbitrary<bool>())
    scene.denied = *rc::gen::element(Prefix{kClient4, 32}, Prefix{kClient6, 128}, Prefix{{}, 0});
  const auto any_mtu = [] {
    const bool told = *rc::gen::weightedElement<bool>({{1, true}, {2, false}});
    return told ? *rc::gen::inRange<std::uint16_t>(500, 1500) : PathMtu::kNone;
  };
  scene.client_mtu = any_mtu();
  scene.peer_mtu = any_mtu();
  scene.told_long_ago = *rc::gen::weightedElement<bool>({{1, true}, {3, false}});
  scene.allocation_ends = *rc::gen::weightedElement<bool>({{1, true}, {9, false}});
  scene.looked_into = *rc::gen::weightedElement<std::uint8_t>({{3, 0}, {1, 1}, {1, 3}});
  return scene;
}

std::vector<std::uint8_t> any_bytes(std::size_t size) {
  return *rc::gen::container<std::vector<std::uint8_t>>(size, rc::gen::arbitrary<std::uint8_t>());
}

std::vector<std::uint8_t> channel_data(ChannelNumber number,
                                       const std::vector<std::uint8_t>& body) {
  std::vector<std::uint8_t> payload(4 + body.size());
  put16(payload.data(), number);
  put16(payload.data() + 2, static_cast<std::uint16_t>(body.size()));
  std::copy(body.begin(), body.end(), payload.begin() + 4);
  return payload;
}

std::vector<std::uint8_t> any_channel_data() {
  const auto number = *rc::gen::elementOf(std::vector<ChannelNumber>{
      0x4000, 0x4000, 0x4001, 0x4001, 0x4100, 0x4102, 0x4200, 0x4201, 0x4FFF, 0x5000});
  std::vector<std::uint8_t> payload =
      channel_data(number, any_bytes(*rc::gen::inRange<std::size_t>(0, 1480)));
  const std::vector<std::uint8_t> behind =
      any_bytes(*rc::gen::weightedElement<std::size_t>({{6, 0}, {1, 3}}));
  payload.insert(payload.end(), behind.begin(), behind.end());
  return payload;
}

stun::TransactionId any_transaction() {
  stun::TransactionId id{};
  for (std::uint8_t& byte : id)
    byte = *rc::gen::arbitrary<std::uint8_t>();
  return id;
}

std::vector<std::uint8_t> any_send() {
  const Address peer = *rc::gen::element(kPeer4, kPeer4, kPeer4, kPeer6, kPeer6, kPeer6, kRelay4,
                                         kRelay6, kExternal4, Address::v4(1, 2, 3, 4));
  const auto port = *rc::gen::elementOf(
      std::vector<std::uint16_t>{kPeerPort, 1, kRelayPort4 + 2, kRelayPort6 + 2, 0});
  std::array<std::uint8_t, 2048> buffer{};
  stun::MessageWriter writer(buffer, stun::Class::kIndication, stun::Method::kSend,
                             any_transaction());
  const std::vector<std::uint8_t> body = any_bytes(*rc::gen::inRange<std::size_t>(0, 1440));
  const bool data_first = *rc::gen::arbitrary<bool>();
  if (data_first) writer.add(stun::Attribute::kData, body);
  writer.add_xor_address(stun::Attribute::kXorPeerAddress, {peer, port});
  if (*rc::gen::weightedElement<bool>({{1, true}, {6, false}}))
    writer.add(stun::Attribute::kDontFragment, {});
  if (!data_first) writer.add(stun::Attribute::kData, body);
  if (*rc::gen::weightedElement<bool>({{1, true}, {9, false}}))
    writer.add_text(stun::Attribute::kSoftware, "ten bytes!");
  if (*rc::gen::weightedElement<bool>({{1, true}, {2, false}})) writer.add_fingerprint();
  const auto bytes = writer.finish();
  std::vector<std::uint8_t> message(bytes.begin(), bytes.end());
  // The padding, often.
  if (*rc::gen::weightedElement<bool>({{1, true}, {4, false}})) message[message.size() - 1] = 0x55;
  return message;
}

std::vector<std::uint8_t> any_request() {
  std::array<std::uint8_t, 64> buffer{};
  const auto of_class = *rc::gen::weightedElement<stun::Class>(
      {{9, stun::Class::kRequest}, {1, stun::Class::kIndication}});
  const auto method = *rc::gen::weightedElement<stun::Method>(
      {{6, stun::Method::kBinding}, {1, stun::Method::kAllocate}});
  stun::MessageWriter writer(buffer, of_class, method, any_transaction());
  if (*rc::gen::weightedElement<bool>({{1, true}, {6, false}}))
    writer.add_text(stun::Attribute::kSoftware, "ten bytes!");
  if (*rc::gen::weightedElement<bool>({{1, true}, {6, false}})) writer.add_fingerprint();
  const auto bytes = writer.finish();
  return {bytes.begin(), bytes.end()};
}

std::vector<std::uint8_t> any_frame(const World& world) {
  Datagram one;
  const int kind = *rc::gen::inRange(0, 4);
  if (kind == 0) {
    const auto port = static_cast<std::uint16_t>(kPeerPort + *rc::gen::inRange(0, 5));
    one = any_family() == Family::kIpv4 ? Datagram{{kPeer4, port}, {kRelay4, kRelayPort4}, {}}
                                        : Datagram{{kPeer6, port}, {kRelay6, kRelayPort6}, {}};
    one.payload = any_bytes(*rc::gen::inRange<std::size_t>(0, 1480));
  } else {
    const bool v4 = world.client_.address.family == Family::kIpv4;
    const Address source = *rc::gen::weightedElement<Address>(
        {{20, world.client_.address},
         {1, world.server_.address},
         {1, v4 ? kRelay4 : kRelay6},
         {1, v4 ? Address::v4(127, 0, 0, 1) : *Address::parse("::1")},
         {1, v4 ? Address::v4(224, 0, 0, 1) : *Address::parse("ff02::1")},
         {1, v4 ? Address::v4(0, 1, 2, 3) : *Address::parse("::")}});
    const auto port = *rc::gen::weightedElement<std::uint16_t>(
        {{20, world.server_.port}, {1, kPort}, {2, kStunOnlyPort}, {2, kTurnOnlyPort}, {1, 80}});
    one = {{source, kClientPort}, {world.server_.address, port}, {}};
    one.payload = kind == 1 ? any_channel_data() : kind == 2 ? any_send() : any_request();
  }
  if (*rc::gen::weightedElement<bool>({{1, true}, {20, false}})) one.source.port = 0;
  one.ttl = *rc::gen::weightedElement<std::uint8_t>({{9, 64}, {1, 1}, {1, 2}, {1, 0}});
  one.traffic_class = *rc::gen::arbitrary<std::uint8_t>();
  one.flow_label = *rc::gen::inRange<std::uint32_t>(0, 1 << 20);
  one.dont_fragment = *rc::gen::arbitrary<bool>();
  one.sum = *rc::gen::element(Datagram::Sum::kRight, Datagram::Sum::kRight, Datagram::Sum::kZero,
                              Datagram::Sum::kPartial);
  std::vector<std::uint8_t> frame = frame_of(one);
  // Something broken, sometimes; the IP checksum right again, sometimes.
  const int broken = *rc::gen::weightedElement<int>({{6, 0}, {2, 1}, {1, 2}});
  for (int i = 0; i < broken; ++i) {
    const auto at = *rc::gen::inRange<std::size_t>(0, std::min<std::size_t>(frame.size(), 90));
    frame[at] = *rc::gen::arbitrary<std::uint8_t>();
  }
  if (broken != 0 && *rc::gen::weightedElement<bool>({{4, true}, {1, false}})) {
    // Of IPv4; what IPv6 has there is broken with it.
    put16(frame.data() + 24, 0);
    put16(frame.data() + 24, static_cast<std::uint16_t>(~plain_sum(frame.data() + 14, 20)));
  }
  if (*rc::gen::weightedElement<bool>({{1, true}, {9, false}}))
    frame.resize(*rc::gen::inRange<std::size_t>(0, frame.size()));
  return frame;
}

void check_same_counters(const WorkerCounters& a, const WorkerCounters& b) {
  for (const auto traffic : {&WorkerCounters::client_in, &WorkerCounters::client_out,
                             &WorkerCounters::peer_in, &WorkerCounters::peer_out}) {
    for (std::size_t family = 0; family < 2; ++family) {
      RC_ASSERT((a.*traffic)[family].packets.get() == (b.*traffic)[family].packets.get());
      RC_ASSERT((a.*traffic)[family].bytes.get() == (b.*traffic)[family].bytes.get());
    }
  }
  for (std::size_t reason = 0; reason < a.drops.size(); ++reason)
    RC_ASSERT(a.drops[reason].get() == b.drops[reason].get());
  RC_ASSERT(a.to_engine.get() == b.to_engine.get());
  RC_ASSERT(a.hairpin.get() == b.hairpin.get());
  RC_ASSERT(a.binding_success.get() == b.binding_success.get());
  RC_ASSERT(a.answered_401.get() == b.answered_401.get());
}

void check_same_rules(World& fast, World& general) {
  RC_ASSERT(fast.pipeline_->police().untold().size() ==
            general.pipeline_->police().untold().size());
  if (!fast.policy_.payload) return;
  for (policy::RuleNumber rule = 1; rule <= fast.policy_.payload->rules().size(); ++rule) {
    const policy::RuleCounts& a = fast.policy_.payload->counts(0, rule);
    const policy::RuleCounts& b = general.policy_.payload->counts(0, rule);
    RC_ASSERT(a.packets.get() == b.packets.get());
    RC_ASSERT(a.bytes.get() == b.bytes.get());
    RC_ASSERT(a.flows.get() == b.flows.get());
  }
}

void fast_and_general_agree() {
  const Scene scene = any_scene();
  World fast(scene, true);
  World general(scene, false);
  for (int i = 0; i < 8; ++i) {
    const std::vector<std::uint8_t> frame = any_frame(fast);
    const auto padding = *rc::gen::weightedElement<std::size_t>({{4, 0}, {1, 7}});
    const auto checksum =
        *rc::gen::element(Checksum::kVerify, Checksum::kGood, Checksum::kMaybePartial);
    const auto reassembled = *rc::gen::weightedElement<bool>({{1, true}, {8, false}});
    const Packet a = fast.run(frame, padding, checksum, reassembled);
    const Packet b = general.run(frame, padding, checksum, reassembled);
    RC_ASSERT(a.verdict == b.verdict);
    RC_ASSERT(a.drop == b.drop);
    if (a.verdict != Verdict::kDrop) {  // of that one, padding may be off or on
      RC_ASSERT(a.headroom == b.headroom);
      RC_ASSERT(a.tailroom == b.tailroom);
      RC_ASSERT(a.length == b.length);
    }
    if (a.verdict == Verdict::kTransmit) {
      RC_ASSERT(a.next_hop == b.next_hop);
      RC_ASSERT(a.may_fragment == b.may_fragment);
      // Of no account where the packet is no longer.
      const std::size_t longest = a.length - a.l3;
      RC_ASSERT(std::min<std::size_t>(a.path_mtu, longest) ==
                std::min<std::size_t>(b.path_mtu, longest));
      RC_ASSERT(a.l3 == b.l3);
      RC_ASSERT(a.l4 == b.l4);
      RC_ASSERT(a.family == b.family);
      // Ethernet's addresses are written by the worker.
      RC_ASSERT(std::equal(a.data + 12, a.data + a.length, b.data + 12));
    } else {
      RC_ASSERT(fast.buffer_ == general.buffer_);
    }
    check_same_counters(fast.counters_, general.counters_);
    check_same_rules(fast, general);
  }
}

}  // namespace

int main() {
  return rc::check("the fast lane and the general stages agree", fast_and_general_agree) ? 0 : 1;
}
