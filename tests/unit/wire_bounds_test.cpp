// What a STUN message may be: how much of it is read, what is ignored in it, and what the RFCs say
// word for word.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "turnpike/integrity.h"
#include "turnpike/stun.h"
#include "wire/attributes.h"
#include "wire/crc32.h"
#include "wire/headers.h"
#include "wire/hmac.h"

namespace turnpike::stun {
namespace {

using Buffer = std::vector<std::uint8_t>;

constexpr TransactionId kId{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

// A message written one attribute at a time, right or not.
class Draft {
 public:
  explicit Draft(Class message_class, Method method) {
    std::array<std::uint8_t, kHeaderSize> room;
    MessageWriter writer(room, message_class, method, kId);
    const auto header = writer.finish();
    bytes_.assign(header.begin(), header.end());
  }
  Draft& add(Attribute type, const Buffer& value) {
    return add(static_cast<std::uint16_t>(type), value);
  }
  Draft& add(std::uint16_t type, const Buffer& value) {
    std::array<std::uint8_t, 4> head;
    wire::store_be16(head.data(), type);
    wire::store_be16(head.data() + 2, static_cast<std::uint16_t>(value.size()));
    bytes_.insert(bytes_.end(), head.begin(), head.end());
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    bytes_.resize((bytes_.size() + 3) / 4 * 4);
    wire::store_be16(bytes_.data() + 2, static_cast<std::uint16_t>(bytes_.size() - kHeaderSize));
    return *this;
  }
  Draft& add_integrity(Attribute type, const Key& key) {
    const bool sha256 = type == Attribute::kMessageIntegritySha256;
    const std::size_t size = sha256 ? 32 : 20;
    const auto mac = message_hmac(sha256 ? Digest::kSha256 : Digest::kSha1, key.view(), bytes_,
                                  bytes_.size(), size);
    return add(type, Buffer(mac->begin(), mac->begin() + static_cast<std::ptrdiff_t>(size)));
  }
  const Buffer& bytes() const { return bytes_; }
  ParseError error() const {
    MessageView view;
    return MessageView::parse(bytes_, view);
  }
  MessageView view() const {
    MessageView view;
    EXPECT_EQ(MessageView::parse(bytes_, view), ParseError::kNone);
    return view;
  }

 private:
  Buffer bytes_;
};

// --- Bounds

TEST(Bounds, OfAttributesAre64) {
  Draft draft(Class::kRequest, Method::kAllocate);
  for (std::size_t i = 0; i < kAttributesMax; ++i)
    draft.add(0xC000, {});
  EXPECT_EQ(draft.error(), ParseError::kNone);
  EXPECT_EQ(draft.add(Attribute::kLifetime, Buffer(4)).error(), ParseError::kTooManyAttributes);
}

TEST(Bounds, CountWhatIntegrityHidesToo) {
  Draft draft(Class::kRequest, Method::kAllocate);
  draft.add(Attribute::kMessageIntegrity, Buffer(20));
  for (std::size_t i = 0; i < kAttributesMax; ++i)
    draft.add(0xC000, {});
  EXPECT_EQ(draft.error(), ParseError::kTooManyAttributes);
}

TEST(Bounds, CountPeersOnlyWhereTheyAreNoList) {
  const auto with_peers = [](Class message_class, Method method) {
    Draft draft(message_class, method);
    for (int i = 0; i < 300; ++i)
      draft.add(Attribute::kXorPeerAddress, Buffer{0, 1, 0, 0, 1, 2, 3, 4});
    return draft;
  };
  EXPECT_EQ(with_peers(Class::kRequest, Method::kCreatePermission).error(), ParseError::kNone);
  EXPECT_EQ(with_peers(Class::kRequest, Method::kAllocate).error(), ParseError::kTooManyAttributes);
  EXPECT_EQ(with_peers(Class::kIndication, Method::kSend).error(), ParseError::kTooManyAttributes);
}

TEST(Bounds, OfRequestsAreFourKibibytes) {
  const auto sized = [](Class message_class, Method method, std::size_t size) {
    return Draft(message_class, method).add(Attribute::kData, Buffer(size - kHeaderSize - 4));
  };
  EXPECT_EQ(sized(Class::kRequest, Method::kAllocate, kRequestMax).error(), ParseError::kNone);
  EXPECT_EQ(sized(Class::kRequest, Method::kAllocate, kRequestMax + 4).error(),
            ParseError::kRequestTooLong);
  EXPECT_EQ(sized(Class::kIndication, Method::kSend, 60'000).error(), ParseError::kNone);
}

// The offset of the last attribute of the longest message.
TEST(Bounds, TheLastAttributeOfALongestIndicationIsFound) {
  Draft draft(Class::kIndication, Method::kSend);
  draft.add(0xC000, Buffer(65'500)).add(Attribute::kDontFragment, {});
  EXPECT_TRUE(draft.view().has(Attribute::kDontFragment));
  EXPECT_EQ(draft.view().find(Attribute::kDontFragment)->offset, 65'524U);
}

// --- The index says what a walk would.

TEST(Index, FindsWhatAWalkFindsFirst) {
  const Key key = long_term_key(PasswordAlgorithm::kMd5, "u", "r", "p");
  std::vector<Draft> drafts;
  drafts.push_back(Draft(Class::kRequest, Method::kRefresh)
                       .add(Attribute::kLifetime, {0, 0, 0, 1})
                       .add(Attribute::kLifetime, {0, 0, 0, 2})
                       .add(0x7001, {})
                       .add_integrity(Attribute::kMessageIntegrity, key)
                       .add(Attribute::kDontFragment, {})
                       .add_integrity(Attribute::kMessageIntegritySha256, key)
                       .add(Attribute::kEvenPort, {1}));
  drafts.push_back(Draft(Class::kRequest, Method::kRefresh)
                       .add_integrity(Attribute::kMessageIntegritySha256, key)
                       .add_integrity(Attribute::kMessageIntegrity, key)
                       .add(Attribute::kLifetime, {0, 0, 0, 2}));
  drafts.push_back(Draft(Class::kRequest, Method::kRefresh));
  for (const Draft& draft : drafts) {
    const MessageView view = draft.view();
    std::map<std::uint16_t, std::uint32_t> walked;
    view.for_each([&](const AttributeView& attribute) {
      walked.emplace(attribute.type, attribute.offset);
      return true;
    });
    for (const AttributeRule& rule : attribute_rules()) {
      const auto found = view.find(rule.type);
      const auto expected = walked.find(static_cast<std::uint16_t>(rule.type));
      ASSERT_EQ(found.has_value(), expected != walked.end()) << rule.name;
      if (found) {
        EXPECT_EQ(found->offset, expected->second) << rule.name;
      }
    }
  }
}

TEST(Index, TellsOfUnknownAttributesThatAreVisible) {
  EXPECT_TRUE(Draft(Class::kRequest, Method::kRefresh).add(0x7001, {}).view().has_unknown());
  EXPECT_FALSE(Draft(Class::kRequest, Method::kRefresh).add(0xC001, {}).view().has_unknown());
  EXPECT_FALSE(Draft(Class::kRequest, Method::kRefresh)
                   .add(Attribute::kMessageIntegrity, Buffer(20))
                   .add(0x7001, {})
                   .view()
                   .has_unknown());
}

TEST(Index, IsCompleteIfAllIsThereThatTheTableAsksFor) {
  for (const auto message_class :
       {Class::kRequest, Class::kIndication, Class::kSuccess, Class::kError}) {
    for (const Method method :
         {Method::kBinding, Method::kAllocate, Method::kRefresh, Method::kSend, Method::kData,
          Method::kCreatePermission, Method::kChannelBind}) {
      std::vector<Attribute> must;
      for (const AttributeRule& rule : attribute_rules()) {
        if (presence(rule.type, method, message_class) == Presence::kMust)
          must.push_back(rule.type);
      }
      Draft whole(message_class, method);
      for (const Attribute type : must)
        whole.add(type, {});
      EXPECT_TRUE(whole.view().complete());
      for (const Attribute missing : must) {
        Draft draft(message_class, method);
        for (const Attribute type : must) {
          if (type != missing) draft.add(type, {});
        }
        EXPECT_FALSE(draft.view().complete());
      }
    }
  }
}

// --- What is ignored

// RFC 8489 §14.5: what stands behind the first MESSAGE-INTEGRITY is not covered by it, whatever
// follows: LIFETIME 0 here would end the call.
TEST(Ignored, IsWhatStandsBetweenTwoIntegrities) {
  const Key key = long_term_key(PasswordAlgorithm::kMd5, "u", "r", "p");
  for (const Attribute type : {Attribute::kMessageIntegrity, Attribute::kMessageIntegritySha256}) {
    Draft draft(Class::kRequest, Method::kRefresh);
    draft.add_integrity(type, key).add(Attribute::kLifetime, Buffer(4)).add_integrity(type, key);
    const MessageView view = draft.view();
    EXPECT_FALSE(view.has(Attribute::kLifetime));
    EXPECT_EQ(view.find(type)->offset, kHeaderSize);
    EXPECT_TRUE(type == Attribute::kMessageIntegrity
                    ? check_message_integrity(view, key.view())
                    : check_message_integrity_sha256(view, key.view()));
  }
}

// Of the same length, and with the CRC that it would have where it stands.
TEST(Ignored, NotIsAFingerprintThatIsRightButNotLast) {
  Draft draft(Class::kRequest, Method::kBinding);
  Buffer counted = draft.bytes();
  wire::store_be16(counted.data() + 2, 8 + 4);
  const std::uint32_t crc = wire::crc32(counted) ^ 0x5354554E;
  Buffer value(4);
  wire::store_be32(value.data(), crc);
  draft.add(Attribute::kFingerprint, value).add(Attribute::kSoftware, {});
  EXPECT_EQ(draft.error(), ParseError::kBadFingerprint);
}

// RFC 8489 §14.1, RFC 8656 §18: reserved bits "MUST be ignored on receipt".
TEST(Ignored, AreReservedBits) {
  const Draft draft = Draft(Class::kRequest, Method::kAllocate)
                          .add(Attribute::kXorPeerAddress, {0xFF, 1, 0, 9, 1, 2, 3, 4})
                          .add(Attribute::kRequestedTransport, {17, 0xFF, 0xFF, 0xFF})
                          .add(Attribute::kChannelNumber, {0x40, 0x01, 0xFF, 0xFF})
                          .add(Attribute::kRequestedAddressFamily, {2, 0xFF, 0xFF, 0xFF})
                          .add(Attribute::kAdditionalAddressFamily, {2, 0xFF, 0xFF, 0xFF})
                          .add(Attribute::kEvenPort, {0xFF})
                          .add(Attribute::kErrorCode, {0xFF, 0xFF, 0xFC, 1});
  const MessageView view = draft.view();
  EXPECT_TRUE(view.xor_address(Attribute::kXorPeerAddress));
  EXPECT_EQ(view.requested_transport(), 17);
  EXPECT_EQ(view.channel_number(), 0x4001);
  EXPECT_EQ(view.family_octet(Attribute::kRequestedAddressFamily), 2);
  EXPECT_EQ(view.family_octet(Attribute::kAdditionalAddressFamily), 2);
  EXPECT_EQ(view.even_port_reserve(), true);
  EXPECT_EQ(view.error_code(), 401);
}

// --- Sizes

// RFC 8489 §14.3: at most 508 are sent, 763 must be understood.
TEST(Sizes, OfAUsernameAreUnderstoodTo763Bytes) {
  for (const std::size_t size : {1U, 508U, 509U, 763U, 764U}) {
    const Draft draft =
        Draft(Class::kRequest, Method::kAllocate).add(Attribute::kUsername, Buffer(size, 'u'));
    EXPECT_EQ(draft.view().text(Attribute::kUsername).has_value(), size <= 763) << size;
  }
}

// --- Words

// RFC 8489 §14.8, RFC 8656 §19.
TEST(Words, OfReasonsAreTheRfcs) {
  const std::map<std::uint16_t, std::string> phrases{
      {300, "Try Alternate"},
      {400, "Bad Request"},
      {401, "Unauthenticated"},
      {403, "Forbidden"},
      {420, "Unknown Attribute"},
      {437, "Allocation Mismatch"},
      {438, "Stale Nonce"},
      {440, "Address Family not Supported"},
      {441, "Wrong Credentials"},
      {442, "Unsupported Transport Protocol"},
      {443, "Peer Address Family Mismatch"},
      {486, "Allocation Quota Reached"},
      {500, "Server Error"},
      {508, "Insufficient Capacity"},
  };
  for (const auto& [code, phrase] : phrases) {
    std::array<std::uint8_t, 128> room;
    MessageWriter writer(room, Class::kError, Method::kAllocate, kId);
    writer.add_error_code(code);
    MessageView view;
    ASSERT_EQ(MessageView::parse(writer.finish(), view), ParseError::kNone);
    EXPECT_EQ(view.text(Attribute::kErrorCode)->substr(4), phrase);
  }
}

TEST(Words, OfAReasonMayBeOthers) {
  std::array<std::uint8_t, 128> room;
  MessageWriter writer(room, Class::kError, Method::kAllocate, kId);
  writer.add_error_code(400, "");
  MessageView view;
  ASSERT_EQ(MessageView::parse(writer.finish(), view), ParseError::kNone);
  EXPECT_EQ(view.error_code(), 400);
  EXPECT_EQ(view.text(Attribute::kErrorCode)->size(), 4U);
}

}  // namespace
}  // namespace turnpike::stun
