// Attack frames are made once, from random sources, so that sending them costs no more than
// media does.
#include "attack.h"

#include <cstring>
#include <span>

#include "attack_messages.h"

namespace turnpike::pktgen {
namespace {

constexpr std::size_t kFrames = 16384;

constexpr std::array kEach = {Attack::kBogus,     Attack::kAllocate, Attack::kMalformed,
                              Attack::kBombs,     Attack::kBindings, Attack::kChannels,
                              Attack::kFragments, Attack::kUsers};

// One in four is forged: a nonce that is right, and an integrity that isn't.
std::size_t write_users(const World& world, std::uint32_t flow, AttackBuffer& buffer,
                        AttackRandom& random) {
  const std::uint32_t first = world.plan.media_flows();
  const Endpoint peer =
      world.plan.peer(static_cast<std::uint32_t>(first + random() % (world.plan.flows() - first)));
  stun::MessageWriter writer = begin_users_request(buffer, peer, random);
  world.session.sign(flow, writer);
  const std::size_t size = writer.finish().size();
  if (random() % 4 == 0) forge(std::span(buffer).first(size));
  return size;
}

}  // namespace

AttackFrames::AttackFrames(const World& world) {
  const Options& options = world.options;
  if (options.attack == Attack::kNone) return;
  AttackRandom random(1);
  const std::uint32_t media = world.plan.media_flows();
  for (std::size_t i = 0; i < kFrames; ++i) {
    const Attack attack =
        options.attack == Attack::kAll ? kEach[random() % kEach.size()] : options.attack;
    const bool known = attack == Attack::kUsers;
    const auto flow =
        static_cast<std::uint32_t>(known ? media + i % (world.plan.flows() - media) : i % media);
    const Endpoint& server = world.plan.server(flow);
    const Family family = server.address.family;
    const EndpointRange& range = world.plan.attackers(family);
    const Endpoint from = known ? world.plan.client(flow)
                                : range.at(static_cast<std::uint32_t>(random() % range.size()));
    AttackBuffer message{};
    const std::size_t size = known ? write_users(world, flow, message, random)
                                   : write_strangers(attack, message, random);
    const std::size_t headers = headers_size(family);
    const std::size_t at = arena_.size();
    arena_.resize(at + headers + size + kFragmentHeader);
    std::uint8_t* frame = arena_.data() + at;
    write_headers(frame, world.client_port.macs(family), from, server, size);
    std::memcpy(frame + headers, message.data(), size);
    set_udp_checksum(frame, family, size);
    const std::size_t whole = attack == Attack::kFragments
                                  ? make_fragment(frame, headers + size, family, random)
                                  : headers + size;
    frames_.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint16_t>(whole)});
  }
}

Bytes AttackFrames::next() {
  const Frame& frame = frames_[next_];
  next_ = next_ + 1 == frames_.size() ? 0 : next_ + 1;
  return {arena_.data() + frame.at, frame.size};
}

}  // namespace turnpike::pktgen
