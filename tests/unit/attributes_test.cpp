// The table of attributes: what each message must carry, and what is unknown in it.
#include <gtest/gtest.h>

#include <array>

#include "stun_bytes.h"
#include "wire/attributes.h"

namespace turnpike::stun {
namespace {

using namespace test;

TEST(AttributeTable, NamesEveryRuleOnceWithAPlace) {
  for (const AttributeRule& rule : attribute_rules()) {
    EXPECT_EQ(find_attribute_rule(static_cast<std::uint16_t>(rule.type)), &rule);
    EXPECT_LE(rule.size_min, rule.size_max) << rule.name;
    EXPECT_NE(rule.request.may | rule.success.may | rule.error.may, 0) << rule.name;
    for (const Placement* place : {&rule.request, &rule.success, &rule.error}) {
      EXPECT_EQ(place->must & ~place->may, 0) << rule.name;
    }
  }
  EXPECT_EQ(find_attribute_rule(0x0002), nullptr);
  EXPECT_EQ(find_attribute_rule(0xFFFF), nullptr);
}

TEST(AttributeTable, SaysWhatEachTurnMessageMustCarry) {
  const auto where = [](Attribute type, Method method, Class message_class = Class::kRequest) {
    return presence(type, method, message_class);
  };
  EXPECT_EQ(where(Attribute::kRequestedTransport, Method::kAllocate), Presence::kMust);
  EXPECT_EQ(where(Attribute::kRequestedTransport, Method::kRefresh), Presence::kUnexpected);
  EXPECT_EQ(where(Attribute::kChannelNumber, Method::kChannelBind), Presence::kMust);
  EXPECT_EQ(where(Attribute::kXorPeerAddress, Method::kCreatePermission), Presence::kMust);
  EXPECT_EQ(where(Attribute::kData, Method::kSend, Class::kIndication), Presence::kMust);
  EXPECT_EQ(where(Attribute::kData, Method::kData, Class::kIndication), Presence::kMay);
  EXPECT_EQ(where(Attribute::kXorRelayedAddress, Method::kAllocate, Class::kSuccess),
            Presence::kMust);
  EXPECT_EQ(where(Attribute::kErrorCode, Method::kRefresh, Class::kError), Presence::kMust);
  EXPECT_EQ(where(Attribute::kErrorCode, Method::kRefresh, Class::kSuccess), Presence::kUnexpected);
}

TEST(AttributeTable, KnownButUnexpectedIsUnderstood) {
  EXPECT_TRUE(is_understood(0x000D, Method::kBinding));
  EXPECT_TRUE(is_understood(0x0019, Method::kRefresh));
  EXPECT_FALSE(is_understood(0x0003, Method::kBinding));   // CHANGE-REQUEST: a listener's to know
  EXPECT_FALSE(is_understood(0x0024, Method::kBinding));   // ICE's PRIORITY
  EXPECT_FALSE(is_understood(0x001B, Method::kAllocate));  // ACCESS-TOKEN (docs/protocol.md 36)
  EXPECT_FALSE(is_known_method(0x002));                    // Shared Secret
  EXPECT_FALSE(is_known_method(0x00D));                    // RFC 6062
  EXPECT_TRUE(is_known_method(0x009));
}

TEST(AttributeTable, UnknownAttributesAreListedOnceInOrder) {
  const Buffer bytes =
      message("0001", "7ff10000 00030000 7ff10000 c0010000 00060001 61000000 7ff20000");
  std::array<std::uint16_t, 8> out{};
  ASSERT_EQ(unknown_attributes(parsed(bytes), out), 3U);
  EXPECT_EQ(out[0], 0x7ff1);
  EXPECT_EQ(out[1], 0x0003);
  EXPECT_EQ(out[2], 0x7ff2);
  std::array<std::uint16_t, 2> brief{};
  EXPECT_EQ(unknown_attributes(parsed(bytes), brief), 2U);
}

}  // namespace
}  // namespace turnpike::stun
