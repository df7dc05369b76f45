// Binding as RFC 3489 had it, byte by byte, and the transaction ids of indications.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "stun_bytes.h"
#include "turnpike/classic_stun.h"
#include "wire/transaction_ids.h"

namespace turnpike::stun {
namespace {

using test::Buffer;
using test::hex;

const Endpoint kClient{Address::v4(198, 51, 100, 7), 0x9C40};
const Endpoint kServer{Address::v4(192, 0, 2, 1), 3478};

constexpr std::string_view kId = "000102030405060708090a0b0c0d0e0f";

Buffer request(std::string_view type_and_length, std::string_view attributes = "") {
  return hex(std::string(type_and_length) + std::string(kId) + std::string(attributes));
}

struct Answer {
  Classic what;
  Buffer bytes;
};

Answer answer(const Buffer& bytes, const Endpoint& client = kClient,
              const Endpoint& server = kServer) {
  std::array<std::uint8_t, 548> out{};
  const ClassicResult result = answer_classic(bytes, client, {.endpoint = server}, out);
  return {result.what, {out.begin(), out.begin() + static_cast<std::ptrdiff_t>(result.size)}};
}

TEST(ClassicStun, BareBindingGetsItsMappedAddressAndItsWholeId) {
  const Answer got = answer(request("0001 0000"));
  EXPECT_EQ(got.what, Classic::kSuccess);
  EXPECT_EQ(got.bytes, hex("0101 0018" + std::string(kId) +
                           "0001 0008 0001 9c40 c6336407 0004 0008 0001 0d96 c0000201"));
}

TEST(ClassicStun, AnswersIpv6Too) {
  const Answer got = answer(request("0001 0000"), {*Address::parse("2001:db8::1"), 1},
                            {*Address::parse("2001:db8::2"), 3478});
  EXPECT_EQ(got.bytes, hex("0101 0030" + std::string(kId) +
                           "0001 0014 0002 0001 20010db8000000000000000000000001"
                           "0004 0014 0002 0d96 20010db8000000000000000000000002"));
}

// Debian's `stun` begins with a CHANGE-REQUEST of no flag.
TEST(ClassicStun, ChangeRequestWithoutAFlagIsAnswered) {
  EXPECT_EQ(answer(request("0001 0008", "0003 0004 00000000")).what, Classic::kSuccess);
}

TEST(ClassicStun, ChangeRequestWithAFlagGets420) {
  for (const char* flags : {"00000002", "00000004", "00000006"}) {
    const Answer got = answer(request("0001 0008", std::string("0003 0004") + flags));
    EXPECT_EQ(got.what, Classic::kUnknown) << flags;
    EXPECT_EQ(got.bytes, hex("0111 0024" + std::string(kId) +
                             "0009 0018 0000 0414 556e6b6e6f776e20417474726962757465202020"
                             "000a 0004 0003 0003"))
        << "an odd number of attributes is filled up";
  }
  EXPECT_EQ(answer(request("0001 0004", "0003 0000")).what, Classic::kUnknown) << "no flags at all";
}

// Otherwise whoever asks says where the answer goes.
TEST(ClassicStun, ResponseAddressIsRefused) {
  const Answer got =
      answer(request("0001 0014", "0002 0008 0001 1234 01020304 0003 0004 00000006"));
  EXPECT_EQ(got.what, Classic::kUnknown);
  EXPECT_EQ(Buffer(got.bytes.end() - 8, got.bytes.end()), hex("000a 0004 0002 0003"));
}

TEST(ClassicStun, IgnoresCredentialsAndWhatIsOptional) {
  EXPECT_EQ(answer(request("0001 0010", "0006 0004 75736572 8022 0004 6e696365")).what,
            Classic::kSuccess);
}

TEST(ClassicStun, NamesWhatItDoesNotKnowOnce) {
  const Answer got = answer(request("0001 000c", "7001 0000 7001 0000 0024 0000"));
  EXPECT_EQ(got.what, Classic::kUnknown);
  EXPECT_EQ(Buffer(got.bytes.end() - 8, got.bytes.end()), hex("000a 0004 7001 0024"));
}

TEST(ClassicStun, SharedSecretIsNotGiven) {
  const Answer got = answer(request("0002 0000"));
  EXPECT_EQ(got.what, Classic::kSharedSecret);
  EXPECT_TRUE(got.bytes.empty());
}

TEST(ClassicStun, MalformedIsNotAnswered) {
  EXPECT_EQ(answer(request("0001 0004")).what, Classic::kMalformed) << "longer than its datagram";
  EXPECT_EQ(answer(request("0001 0004", "0003 0004")).what, Classic::kMalformed);
  EXPECT_EQ(answer(request("0001 0005", "0003 0001 00")).what, Classic::kMalformed);
  EXPECT_EQ(answer(request("0001 0002", "0003")).what, Classic::kMalformed);
  std::string many;
  for (std::size_t i = 0; i <= kAttributesMax; ++i)
    many += "80220000";
  EXPECT_EQ(answer(request("0001 0104", many)).what, Classic::kMalformed);
}

TEST(ClassicStun, IsNothingElse) {
  for (const char* start : {"0101 0000", "0003 0000", "0111 0000", "0000 0000"})
    EXPECT_EQ(answer(request(start)).what, Classic::kNot) << start;
  EXPECT_EQ(answer(hex("0001 0000 2112a442 0102030405060708090a0b0c")).what, Classic::kNot);
  EXPECT_EQ(answer(hex("0001 0000")).what, Classic::kNot);
}

// Each attribute that can be refused, all different, fits the answer.
TEST(ClassicStun, ALongestRefusalFits) {
  std::string many;
  for (std::size_t i = 0; i < kAttributesMax; ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    many += {'7', '0', kDigits[i / 16], kDigits[i % 16], '0', '0', '0', '0'};
  }
  const Answer got = answer(request("0001 0100", many));
  EXPECT_EQ(got.what, Classic::kUnknown);
  EXPECT_EQ(got.bytes.size(), 20 + 28 + 4 + 2 * kAttributesMax);
}

// draft-strombergson-chacha-test-vectors-01, ChaCha8 with 256 bits of key, TC1.
TEST(TransactionIds, AreChaCha8sKeyStream) {
  TransactionIds ids({}, 0);
  const Buffer stream =
      hex("3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e"
          "984ce172b9216f419f445367456d5619314a42a3da86b001387bfdb80e0cfe42");
  for (std::size_t i = 0; i < 5; ++i) {
    const TransactionId id = ids.next();
    EXPECT_TRUE(
        std::equal(id.begin(), id.end(), stream.begin() + static_cast<std::ptrdiff_t>(12 * i)))
        << i;
  }
}

TEST(TransactionIds, DifferAlwaysAndBetweenStreamsAndKeys) {
  std::set<TransactionId> seen;
  for (const TransactionIds::Key& key : {TransactionIds::Key{1}, TransactionIds::Key{2}}) {
    for (std::uint64_t stream = 0; stream < 4; ++stream) {
      TransactionIds ids(key, stream);
      for (int i = 0; i < 1000; ++i)
        EXPECT_TRUE(seen.insert(ids.next()).second);
    }
  }
}

}  // namespace
}  // namespace turnpike::stun
