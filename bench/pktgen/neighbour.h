// ARP (RFC 826) and neighbour discovery (RFC 4861 §4.3, §4.4) as frames: the generator's addresses
// are on no interface, so no kernel answers for them. Bytes in, bytes out.
#pragma once

#include <optional>
#include <span>

#include "frames.h"
#include "plan.h"

namespace turnpike::pktgen {

constexpr std::size_t kNeighbourFrame = 14 + 40 + 32;

// The answer to a question for one of our addresses, written to `out`: its size, or 0 if `frame`
// is no such question. `out` has kNeighbourFrame bytes.
std::size_t answer_neighbour(Bytes frame, const Plan& plan, const Mac& ours,
                             std::span<std::uint8_t> out);
// The question who has `wanted`, from `asker` of the same family, written to `out`: its size.
std::size_t ask_neighbour(const Address& wanted, const Address& asker, const Mac& ours,
                          std::span<std::uint8_t> out);
// The MAC in an answer about `wanted`.
std::optional<Mac> neighbour_answer(Bytes frame, const Address& wanted);

}  // namespace turnpike::pktgen
