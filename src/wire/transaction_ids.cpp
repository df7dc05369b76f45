// ChaCha (Bernstein 2008, "ChaCha, a variant of Salsa20") with a 64-bit counter and a 64-bit nonce,
// which is the stream's number. Rows are four words wide, so that a compiler makes vectors of them.
#include "wire/transaction_ids.h"

#include <bit>

namespace turnpike {
namespace {

using Row = std::array<std::uint32_t, 4>;

void add_xor_rotate(Row& sum, const Row& more, Row& mixed, int by) {
  for (std::size_t i = 0; i < 4; ++i) {
    sum[i] += more[i];
    mixed[i] = std::rotl(mixed[i] ^ sum[i], by);
  }
}

void quarter_rounds(Row& a, Row& b, Row& c, Row& d) {
  add_xor_rotate(a, b, d, 16);
  add_xor_rotate(c, d, b, 12);
  add_xor_rotate(a, b, d, 8);
  add_xor_rotate(c, d, b, 7);
}

Row turned(const Row& row, std::size_t by) {
  return {row[by % 4], row[(by + 1) % 4], row[(by + 2) % 4], row[(by + 3) % 4]};
}

}  // namespace

void TransactionIds::refill() {
  const std::uint64_t counter = blocks_++;
  const std::array<Row, 4> start{
      {{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574},  // "expand 32-byte k"
       {key_[0], key_[1], key_[2], key_[3]},
       {key_[4], key_[5], key_[6], key_[7]},
       {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
        static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)}}};
  auto [a, b, c, d] = start;
  for (int double_round = 0; double_round < 4; ++double_round) {
    quarter_rounds(a, b, c, d);
    b = turned(b, 1), c = turned(c, 2), d = turned(d, 3);  // the diagonals
    quarter_rounds(a, b, c, d);
    b = turned(b, 3), c = turned(c, 2), d = turned(d, 1);
  }
  const std::array<Row, 4> end{a, b, c, d};
  for (std::size_t i = 0; i < kWords; ++i)
    block_[i] = start[i / 4][i % 4] + end[i / 4][i % 4];
  used_ = 0;
}

}  // namespace turnpike
