// ChaCha (Bernstein 2008, "ChaCha, a variant of Salsa20") with a 64-bit counter and a 64-bit nonce,
// which is the stream's number. A row of the state is one vector: written as arrays, a block costs
// ten times as much.
#include "wire/transaction_ids.h"

namespace turnpike {
namespace {

using Row [[gnu::vector_size(16)]] = std::uint32_t;

template <int kBy>
void add_xor_rotate(Row& sum, const Row& more, Row& mixed) {
  sum += more;
  mixed ^= sum;
  mixed = mixed << kBy | mixed >> (32 - kBy);
}

void quarter_rounds(Row& a, Row& b, Row& c, Row& d) {
  add_xor_rotate<16>(a, b, d);
  add_xor_rotate<12>(c, d, b);
  add_xor_rotate<8>(a, b, d);
  add_xor_rotate<7>(c, d, b);
}

template <int kBy>
Row turned(const Row& row) {
  return __builtin_shufflevector(row, row, kBy, (kBy + 1) % 4, (kBy + 2) % 4, (kBy + 3) % 4);
}

}  // namespace

void TransactionIds::refill() {
  const std::uint64_t counter = blocks_++;
  const Row start_a{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};  // "expand 32-byte k"
  const Row start_b{key_[0], key_[1], key_[2], key_[3]};
  const Row start_c{key_[4], key_[5], key_[6], key_[7]};
  const Row start_d{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                    static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)};
  Row a = start_a, b = start_b, c = start_c, d = start_d;
  for (int double_round = 0; double_round < 4; ++double_round) {
    quarter_rounds(a, b, c, d);
    b = turned<1>(b), c = turned<2>(c), d = turned<3>(d);  // the diagonals
    quarter_rounds(a, b, c, d);
    b = turned<3>(b), c = turned<2>(c), d = turned<1>(d);
  }
  const std::array<Row, 4> end{a + start_a, b + start_b, c + start_c, d + start_d};
  static_assert(sizeof end == sizeof block_);
  std::memcpy(block_.data(), end.data(), sizeof end);
  used_ = 0;
}

}  // namespace turnpike
