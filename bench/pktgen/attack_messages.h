// What an attack's datagrams carry: messages that cost the relay as much as can be, or that look
// like others' media.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <span>

#include "options.h"
#include "turnpike/stun.h"

namespace turnpike::pktgen {

using AttackRandom = std::mt19937;
constexpr std::size_t kMostAttackMessage = 1440;
using AttackBuffer = std::array<std::uint8_t, kMostAttackMessage>;

// A message of a stranger's in `buffer`: how long it is. Of kinds that a stranger can send:
// kBogus, kAllocate, kMalformed, kBombs, kBindings, kChannels, kFragments.
std::size_t write_strangers(Attack attack, AttackBuffer& buffer, AttackRandom& random);

// What a user asks who has an allocation, and asks without end: the start of a request that
// credentials have to follow. `peer` is one that the relay lets him have.
stun::MessageWriter begin_users_request(AttackBuffer& buffer, const Endpoint& peer,
                                        AttackRandom& random);
// Turns the request's MESSAGE-INTEGRITY, its last attribute, into a wrong one.
void forge(std::span<std::uint8_t> request);

// Makes the whole frame of a datagram, `size` bytes with room for `kFragmentHeader` more, a
// fragment that waits for others that never come: the first of its datagram, or a later one. Its
// new size.
constexpr std::size_t kFragmentHeader = 8;  // IPv6's
std::size_t make_fragment(std::uint8_t* frame, std::size_t size, Family family,
                          AttackRandom& random);

}  // namespace turnpike::pktgen
