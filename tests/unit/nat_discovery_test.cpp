// What a listener with a second address answers to Binding: each attribute of RFC 5780, each
// refusal, and RFC 3489's forms of them. Nothing that it says is more than three times what was
// asked, and it never sends anybody to the address that he has just asked.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "nonces.h"
#include "stun_bytes.h"
#include "turnpike/classic_stun.h"
#include "turnpike/stateless_answers.h"
#include "turnpike/stun.h"

namespace turnpike {
namespace {

using namespace test;
using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr std::size_t kIpUdpV4 = 28, kIpUdpV6 = 48;

// By the client's family. Behind a NAT: what is told are other addresses than ours.
class Discovery : public testing::TestWithParam<Family> {
 protected:
  Discovery() {
    config.realms = {kRealm};
    NatDiscovery discovery;
    for (const Origin origin : {Origin{0}, kChangePort, kChangeAddress, kChangeBoth})
      discovery.origins[origin] = {place(10, origin), place(20, origin)};
    listener = {.endpoint = discovery.origins[0].internal,
                .external = discovery.origins[0].external.address,
                .discovery = discovery};
  }

  bool v4() const { return GetParam() == Family::kIpv4; }
  Address address(unsigned last) const {
    return *Address::parse((v4() ? "192.0.2." : "2001:db8::") + std::to_string(last));
  }
  Endpoint place(unsigned net, Origin origin) const {
    return {address(net + ((origin & kChangeAddress) != 0 ? 1 : 0)),
            static_cast<std::uint16_t>((origin & kChangePort) != 0 ? 3479 : 3478)};
  }
  Endpoint client() const { return {address(99), 40000}; }

  template <typename Fill>
  StatelessResult ask(Fill fill) {
    std::array<std::uint8_t, 4096> buffer;
    MessageWriter writer(buffer, Class::kRequest, Method::kBinding, {7, 7, 7});
    fill(writer);
    const auto bytes = writer.finish();
    EXPECT_FALSE(bytes.empty());
    request_.assign(bytes.begin(), bytes.end());
    MessageView view;
    EXPECT_EQ(MessageView::parse(request_, view), stun::ParseError::kNone);
    out.fill(0xEE);
    const StatelessResult result =
        StatelessAnswers(config, nonces).answer(kStart, view, client(), listener, false, out);
    EXPECT_EQ(result.verdict, StatelessVerdict::kAnswered);
    EXPECT_TRUE(result.to_stranger || !listener.discovery) << "counted";
    const std::size_t around = v4() ? kIpUdpV4 : kIpUdpV6;
    EXPECT_LE(around + result.size, 3 * (around + request_.size()));
    EXPECT_EQ(MessageView::parse(std::span(out).first(result.size), answer),
              stun::ParseError::kNone);
    return result;
  }
  StatelessResult ask_change(std::uint32_t flags) {
    return ask([&](MessageWriter& writer) { writer.add_u32(Attribute::kChangeRequest, flags); });
  }
  void expect_success(const StatelessResult& result, Origin origin) {
    EXPECT_EQ(result.answer, StatelessAnswer::kBindingSuccess);
    EXPECT_EQ(result.way.origin, origin);
    EXPECT_EQ(answer.xor_address(Attribute::kXorMappedAddress), client());
    EXPECT_EQ(answer.address(Attribute::kMappedAddress), client());
    EXPECT_EQ(answer.address(Attribute::kResponseOrigin), place(20, origin));
    EXPECT_EQ(answer.address(Attribute::kOtherAddress), place(20, kChangeBoth));
  }
  void expect_error(const StatelessResult& result, std::uint16_t code) {
    EXPECT_EQ(answer.error_code(), code);
    EXPECT_EQ(result.way, AnswerWay{}) << "where it came from";
    EXPECT_FALSE(result.may_be_brief);
  }

  StatelessAnswers::Config config;
  Listener listener;
  NonceKeeper nonces{nonce_config()};
  std::array<std::uint8_t, kPaddedAnswerMax> out{};
  MessageView answer;

 private:
  std::vector<std::uint8_t> request_;
};

INSTANTIATE_TEST_SUITE_P(Families, Discovery, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& test) {
                           return test.param == Family::kIpv4 ? "Ipv4" : "Ipv6";
                         });

TEST_P(Discovery, ABareBindingIsToldBothAddresses) {
  const StatelessResult result = ask([](MessageWriter&) {});
  expect_success(result, 0);
  EXPECT_TRUE(result.may_be_brief);
  EXPECT_FALSE(result.rationed);
  EXPECT_FALSE(answer.has_fingerprint());
  ask([](MessageWriter& writer) { writer.add_fingerprint(); });
  EXPECT_TRUE(answer.has_fingerprint());
}

TEST_P(Discovery, ChangeRequestSaysWhereTheAnswerComesFrom) {
  for (const auto& [flags, origin] : {std::pair<std::uint32_t, Origin>{0, 0},
                                      {2, kChangePort},
                                      {4, kChangeAddress},
                                      {6, kChangeBoth},
                                      {0xFFFFFFF9, 0},
                                      {0xFFFFFFFF, kChangeBoth}}) {
    const StatelessResult result = ask_change(flags);
    expect_success(result, origin);
    EXPECT_FALSE(result.may_be_brief);
    EXPECT_EQ(result.way.to_port, 0);
  }
}

TEST_P(Discovery, ResponsePortSaysWhereItGoes) {
  // Its two bytes of padding are in its length, or aren't.
  for (const std::vector<std::uint8_t>& value :
       {std::vector<std::uint8_t>{0x12, 0x34}, {0x12, 0x34, 0, 0}}) {
    const StatelessResult result =
        ask([&](MessageWriter& writer) { writer.add(Attribute::kResponsePort, value); });
    expect_success(result, 0);
    EXPECT_EQ(result.way.to_port, 0x1234);
    EXPECT_TRUE(result.rationed);
    EXPECT_FALSE(result.may_be_brief);
  }
  const StatelessResult result = ask([&](MessageWriter& writer) {
    writer.add_u32(Attribute::kResponsePort, 0x12340000);
    writer.add_u32(Attribute::kChangeRequest, 6);
  });
  expect_success(result, kChangeBoth);
  EXPECT_EQ(result.way.to_port, 0x1234);
}

TEST_P(Discovery, PaddingIsAnsweredWithAsMuchAsNoEthernetTakes) {
  const StatelessResult result = ask([](MessageWriter& writer) {
    writer.add(Attribute::kPadding, std::vector<std::uint8_t>(1500));
    writer.add_u32(Attribute::kChangeRequest, 2);
    writer.add_fingerprint();
  });
  expect_success(result, kChangePort);
  EXPECT_TRUE(result.padded);
  EXPECT_TRUE(result.rationed);
  EXPECT_EQ(answer.find(Attribute::kPadding)->value.size(), kPaddingMost);
  EXPECT_TRUE(answer.has_fingerprint());
  EXPECT_GT(result.size, 1500U);
}

TEST_P(Discovery, PaddingIsNoMoreThanThreeTimesTheRequest) {
  for (std::size_t size = 0; size <= 600; ++size) {
    for (const bool fingerprint : {false, true}) {
      const StatelessResult result = ask([&](MessageWriter& writer) {
        writer.add(Attribute::kPadding, std::vector<std::uint8_t>(size));
        if (fingerprint) writer.add_fingerprint();
      });
      expect_success(result, 0);
      ASSERT_TRUE(answer.has(Attribute::kPadding)) << "a MUST";
      EXPECT_EQ(answer.find(Attribute::kPadding)->value.size() % 4, 0U);
    }
  }
}

TEST_P(Discovery, WhatContradictsItselfOrIsMalformedGets400) {
  expect_error(ask([](MessageWriter& writer) {
                 writer.add(Attribute::kPadding, std::vector<std::uint8_t>(100));
                 writer.add_u32(Attribute::kResponsePort, 0x12340000);
               }),
               400);
  expect_error(
      ask([](MessageWriter& writer) { writer.add_u32(Attribute::kResponsePort, 0x00001234); }),
      400);
  for (const std::size_t size : {0, 3, 5, 8}) {
    const std::vector<std::uint8_t> value(size, 1);
    expect_error(ask([&](MessageWriter& writer) { writer.add(Attribute::kChangeRequest, value); }),
                 400);
  }
  for (const std::size_t size : {0, 1, 5}) {
    const std::vector<std::uint8_t> value(size, 1);
    expect_error(ask([&](MessageWriter& writer) { writer.add(Attribute::kResponsePort, value); }),
                 400);
  }
}

TEST_P(Discovery, OtherUnknownAttributesGet420) {
  expect_error(ask([](MessageWriter& writer) {
                 writer.add_u32(Attribute::kChangeRequest, 6);
                 writer.add_u32(static_cast<Attribute>(0x7ABC), 6);
                 writer.add_u32(Attribute::kResponsePort, 0x12340000);
               }),
               420);
  const auto list = answer.find(Attribute::kUnknownAttributes)->value;
  EXPECT_EQ(std::vector<std::uint8_t>(list.begin(), list.end()),
            (std::vector<std::uint8_t>{0x7A, 0xBC}));
}

// RFC 5780 §6.1.
TEST_P(Discovery, WithoutASecondAddressEachOfThemGets420AndNothingIsToldOfOne) {
  listener.discovery.reset();
  for (const Attribute type :
       {Attribute::kChangeRequest, Attribute::kPadding, Attribute::kResponsePort}) {
    expect_error(ask([&](MessageWriter& writer) { writer.add_u32(type, 0); }), 420);
    const auto list = answer.find(Attribute::kUnknownAttributes)->value;
    const auto raw = static_cast<std::uint16_t>(type);
    EXPECT_EQ(std::vector<std::uint8_t>(list.begin(), list.end()),
              (std::vector<std::uint8_t>{0, static_cast<std::uint8_t>(raw)}));
  }
  ask([](MessageWriter&) {});
  EXPECT_FALSE(answer.has(Attribute::kOtherAddress));
  EXPECT_FALSE(answer.has(Attribute::kResponseOrigin));
}

TEST_P(Discovery, TheBriefAnswerIsTheAddressAlone) {
  ask([](MessageWriter& writer) { writer.add_fingerprint(); });
  std::array<std::uint8_t, 4096> buffer;
  MessageWriter writer(buffer, Class::kRequest, Method::kBinding, {7});
  MessageView request, brief;
  ASSERT_EQ(MessageView::parse(writer.finish(), request), stun::ParseError::kNone);
  const std::size_t size = StatelessAnswers::answer_briefly(request, client(), out);
  ASSERT_EQ(MessageView::parse(std::span(out).first(size), brief), stun::ParseError::kNone);
  EXPECT_EQ(brief.xor_address(Attribute::kXorMappedAddress), client());
  EXPECT_EQ(size, v4() ? 32U : 44U);
}

// --- RFC 3489.

class ClassicDiscovery : public Discovery {
 protected:
  // Attributes as RFC 3489 writes them; the id is all ones.
  stun::ClassicResult ask_classic(std::string_view attributes) {
    std::vector<std::uint8_t> request(20, 1);
    const auto more = stun::test::hex(attributes);
    request.insert(request.end(), more.begin(), more.end());
    request[0] = request[2] = 0;
    request[3] = static_cast<std::uint8_t>(more.size());
    out.fill(0xEE);
    const auto result =
        StatelessAnswers(config, nonces).answer_classic(request, client(), listener, out);
    const std::size_t around = v4() ? kIpUdpV4 : kIpUdpV6;
    EXPECT_LE(around + result.size, 3 * (around + request.size()));
    return result;
  }
  // In the order in which they are to be.
  std::vector<std::uint8_t> attributes(
      const std::vector<std::pair<std::uint8_t, Endpoint>>& all) const {
    std::vector<std::uint8_t> bytes;
    for (const auto& [type, endpoint] : all) {
      const auto raw = endpoint.address.view();
      const auto size = static_cast<std::uint8_t>(4 + raw.size());
      for (const std::uint8_t byte : {std::uint8_t{0}, type, std::uint8_t{0}, size, std::uint8_t{0},
                                      static_cast<std::uint8_t>(endpoint.address.family),
                                      static_cast<std::uint8_t>(endpoint.port >> 8),
                                      static_cast<std::uint8_t>(endpoint.port)})
        bytes.push_back(byte);
      bytes.insert(bytes.end(), raw.begin(), raw.end());
    }
    return bytes;
  }
  std::vector<std::uint8_t> body(const stun::ClassicResult& result) const {
    return {out.begin() + 20, out.begin() + static_cast<std::ptrdiff_t>(result.size)};
  }
};

INSTANTIATE_TEST_SUITE_P(Families, ClassicDiscovery, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& test) {
                           return test.param == Family::kIpv4 ? "Ipv4" : "Ipv6";
                         });

TEST_P(ClassicDiscovery, MappedSourceAndChangedAddressAreTold) {
  for (const auto& [flags, origin] : {std::pair<std::string_view, Origin>{"", 0},
                                      {"0003 0004 00000000", 0},
                                      {"0003 0004 00000002", kChangePort},
                                      {"0003 0004 00000004", kChangeAddress},
                                      {"0003 0004 00000006", kChangeBoth},
                                      {"0003 0004 00000002 0003 0004 00000006", kChangePort}}) {
    const auto result = ask_classic(flags);
    EXPECT_EQ(result.what, stun::Classic::kSuccess) << flags;
    EXPECT_EQ(result.origin, origin) << flags;
    EXPECT_EQ(body(result),
              attributes({{1, client()}, {4, place(20, origin)}, {5, place(20, kChangeBoth)}}))
        << flags;
  }
}

TEST_P(ClassicDiscovery, NobodySaysToWhichAddressItGoes) {
  const auto result = ask_classic("0002 0008 0001 1234 01020304 0003 0004 00000006");
  EXPECT_EQ(result.what, stun::Classic::kUnknown);
  EXPECT_EQ(result.origin, 0);
  EXPECT_EQ(ask_classic("0003 0000").what, stun::Classic::kUnknown) << "no flags at all";
  EXPECT_EQ(ask_classic("0026 0000").what, stun::Classic::kUnknown) << "PADDING is RFC 5780's";
}

TEST_P(ClassicDiscovery, WithoutASecondAddressTheFirstIsToldAlone) {
  listener.discovery.reset();
  const auto result = ask_classic("0003 0004 00000000");
  EXPECT_EQ(result.what, stun::Classic::kSuccess);
  EXPECT_EQ(body(result), attributes({{1, client()}, {4, place(20, 0)}})) << "the public one";
  EXPECT_EQ(ask_classic("0003 0004 00000004").what, stun::Classic::kUnknown);
  listener.external.reset();
  EXPECT_EQ(body(ask_classic("")), attributes({{1, client()}, {4, place(10, 0)}}));
}

}  // namespace
}  // namespace turnpike
