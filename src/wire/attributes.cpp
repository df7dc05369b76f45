// The attribute table, and the questions that are answered from it alone.
#include "wire/attributes.h"

#include <algorithm>
#include <array>
#include <bit>

namespace turnpike::stun {
namespace {

constexpr MethodSet kNone = 0;
constexpr MethodSet kBinding = 1 << 0;
constexpr MethodSet kAllocate = 1 << 1;
constexpr MethodSet kRefresh = 1 << 2;
constexpr MethodSet kSend = 1 << 3;
constexpr MethodSet kData = 1 << 4;
constexpr MethodSet kPermission = 1 << 5;
constexpr MethodSet kChannel = 1 << 6;
constexpr MethodSet kConnect = 1 << 7;
constexpr MethodSet kConnectionBind = 1 << 8;
constexpr MethodSet kConnectionAttempt = 1 << 9;
constexpr std::size_t kMethodBits = 10;
// Requests of RFC 8656, and of RFC 6062.
constexpr MethodSet kTurn =
    kAllocate | kRefresh | kPermission | kChannel | kConnect | kConnectionBind;
constexpr MethodSet kAnswered = kBinding | kTurn;
constexpr MethodSet kAll = kAnswered | kSend | kData | kConnectionAttempt;

constexpr std::uint16_t kAny = 0xFFFF;
// RFC 8489 §14.3: USERNAME is made of fewer than 509 bytes, but up to 763 must be understood.
// §14.9, §14.10, §14.14: at most 763 bytes.
constexpr std::uint16_t kTextMax = 763;

constexpr Placement kNowhere{};
constexpr Placement may(MethodSet set) {
  return {set, kNone};
}
constexpr Placement must(MethodSet set) {
  return {set, set};
}
constexpr Placement may_must(MethodSet may_set, MethodSet must_set) {
  return {static_cast<MethodSet>(may_set | must_set), must_set};
}

// Columns: sizes, request or indication, success response, error response. A parsed message notes
// its attributes by their place here.
constexpr std::array kRules{
    AttributeRule{Attribute::kMappedAddress, "MAPPED-ADDRESS", 8, 20, kNowhere, may(kBinding),
                  kNowhere},
    AttributeRule{Attribute::kChangeRequest, "CHANGE-REQUEST", 4, 4, may(kBinding), kNowhere,
                  kNowhere},
    AttributeRule{Attribute::kUsername, "USERNAME", 1, kTextMax, may(kAnswered), kNowhere,
                  kNowhere},
    AttributeRule{Attribute::kMessageIntegrity, "MESSAGE-INTEGRITY", 20, 20, may(kAll),
                  may(kAnswered), may(kAnswered)},
    AttributeRule{Attribute::kErrorCode, "ERROR-CODE", 4, kTextMax + 4, kNowhere, kNowhere,
                  must(kAnswered)},
    AttributeRule{Attribute::kUnknownAttributes, "UNKNOWN-ATTRIBUTES", 2, kAny, kNowhere, kNowhere,
                  may(kAnswered)},
    AttributeRule{Attribute::kChannelNumber, "CHANNEL-NUMBER", 4, 4, must(kChannel), kNowhere,
                  kNowhere},
    AttributeRule{Attribute::kLifetime, "LIFETIME", 4, 4, may(kAllocate | kRefresh),
                  must(kAllocate | kRefresh), kNowhere},
    AttributeRule{Attribute::kXorPeerAddress, "XOR-PEER-ADDRESS", 8, 20,
                  must(kSend | kData | kPermission | kChannel | kConnect | kConnectionAttempt),
                  kNowhere, kNowhere},
    // A Data indication that reports an ICMP error has none (RFC 8656 §18.4).
    AttributeRule{Attribute::kData, "DATA", 0, kAny, may_must(kData, kSend), kNowhere, kNowhere},
    AttributeRule{Attribute::kRealm, "REALM", 1, kTextMax, may(kAnswered), kNowhere,
                  may(kAnswered)},
    AttributeRule{Attribute::kNonce, "NONCE", 1, kTextMax, may(kAnswered), kNowhere,
                  may(kAnswered)},
    AttributeRule{Attribute::kXorRelayedAddress, "XOR-RELAYED-ADDRESS", 8, 20, kNowhere,
                  must(kAllocate), kNowhere},
    AttributeRule{Attribute::kRequestedAddressFamily, "REQUESTED-ADDRESS-FAMILY", 4, 4,
                  may(kAllocate | kRefresh), kNowhere, kNowhere},
    AttributeRule{Attribute::kEvenPort, "EVEN-PORT", 1, 1, may(kAllocate), kNowhere, kNowhere},
    AttributeRule{Attribute::kRequestedTransport, "REQUESTED-TRANSPORT", 4, 4, must(kAllocate),
                  kNowhere, kNowhere},
    AttributeRule{Attribute::kDontFragment, "DONT-FRAGMENT", 0, 0, may(kAllocate | kSend), kNowhere,
                  kNowhere},
    AttributeRule{Attribute::kMessageIntegritySha256, "MESSAGE-INTEGRITY-SHA256", 32, 32, may(kAll),
                  may(kAnswered), may(kAnswered)},
    AttributeRule{Attribute::kPasswordAlgorithm, "PASSWORD-ALGORITHM", 4, kAny, may(kAnswered),
                  kNowhere, kNowhere},
    AttributeRule{Attribute::kUserhash, "USERHASH", 32, 32, may(kAnswered), kNowhere, kNowhere},
    AttributeRule{Attribute::kXorMappedAddress, "XOR-MAPPED-ADDRESS", 8, 20, kNowhere,
                  must(kBinding | kAllocate), kNowhere},
    AttributeRule{Attribute::kReservationToken, "RESERVATION-TOKEN", 8, 8, may(kAllocate),
                  may(kAllocate), kNowhere},
    AttributeRule{Attribute::kPadding, "PADDING", 0, kAny, may(kBinding), may(kBinding), kNowhere},
    AttributeRule{Attribute::kResponsePort, "RESPONSE-PORT", 2, 4, may(kBinding), kNowhere,
                  kNowhere},
    AttributeRule{Attribute::kAdditionalAddressFamily, "ADDITIONAL-ADDRESS-FAMILY", 4, 4,
                  may(kAllocate), kNowhere, kNowhere},
    AttributeRule{Attribute::kAddressErrorCode, "ADDRESS-ERROR-CODE", 4, kTextMax + 4, kNowhere,
                  may(kAllocate), kNowhere},
    AttributeRule{Attribute::kPasswordAlgorithms, "PASSWORD-ALGORITHMS", 4, kAny, may(kAnswered),
                  kNowhere, may(kAnswered)},
    AttributeRule{Attribute::kAlternateDomain, "ALTERNATE-DOMAIN", 1, 255, kNowhere, kNowhere,
                  may(kAnswered)},
    AttributeRule{Attribute::kIcmp, "ICMP", 8, 8, may(kData), kNowhere, kNowhere},
    AttributeRule{Attribute::kSoftware, "SOFTWARE", 0, kTextMax, may(kAll), may(kAnswered),
                  may(kAnswered)},
    AttributeRule{Attribute::kAlternateServer, "ALTERNATE-SERVER", 8, 20, kNowhere, kNowhere,
                  may(kAnswered)},
    AttributeRule{Attribute::kFingerprint, "FINGERPRINT", 4, 4, may(kAll), may(kAnswered),
                  may(kAnswered)},
    AttributeRule{Attribute::kResponseOrigin, "RESPONSE-ORIGIN", 8, 20, kNowhere, may(kBinding),
                  kNowhere},
    AttributeRule{Attribute::kOtherAddress, "OTHER-ADDRESS", 8, 20, kNowhere, may(kBinding),
                  kNowhere},
    AttributeRule{Attribute::kOrigin, "ORIGIN", 1, kTextMax, may(kAnswered), kNowhere, kNowhere},
    AttributeRule{Attribute::kMobilityTicket, "MOBILITY-TICKET", 0, kTextMax,
                  may(kAllocate | kRefresh), may(kAllocate | kRefresh), kNowhere},
    AttributeRule{Attribute::kConnectionId, "CONNECTION-ID", 4, 4,
                  must(kConnectionBind | kConnectionAttempt), must(kConnect), kNowhere},
};

MethodSet bit_of(Method method) {
  switch (method) {
    case Method::kBinding:
      return kBinding;
    case Method::kAllocate:
      return kAllocate;
    case Method::kRefresh:
      return kRefresh;
    case Method::kSend:
      return kSend;
    case Method::kData:
      return kData;
    case Method::kCreatePermission:
      return kPermission;
    case Method::kChannelBind:
      return kChannel;
    case Method::kConnect:
      return kConnect;
    case Method::kConnectionBind:
      return kConnectionBind;
    case Method::kConnectionAttempt:
      return kConnectionAttempt;
  }
  return kNone;
}

const Placement& column(const AttributeRule& rule, Class message_class) {
  switch (message_class) {
    case Class::kSuccess:
      return rule.success;
    case Class::kError:
      return rule.error;
    case Class::kRequest:
    case Class::kIndication:
      break;
  }
  return rule.request;
}

}  // namespace

std::span<const AttributeRule> attribute_rules() {
  return kRules;
}

constexpr std::array<std::uint8_t, 2 * kPlacesOfRange> kPlaceOfType = [] {
  std::array<std::uint8_t, 2 * kPlacesOfRange> places{};
  places.fill(kNoPlace);
  for (std::size_t i = 0; i < kRules.size(); ++i) {
    const auto type = static_cast<std::uint16_t>(kRules[i].type);
    places.at((type >> 15) * kPlacesOfRange + (type & 0x7FFFU)) = static_cast<std::uint8_t>(i);
  }
  return places;
}();

const AttributeRule* find_attribute_rule(std::uint16_t type) {
  const std::uint8_t place = place_of(type);
  return place == kNoPlace ? nullptr : &kRules[place];
}

std::uint64_t must_have(Method method, Class message_class) {
  static constexpr auto kMust = [] {
    std::array<std::array<std::uint64_t, kMethodBits>, 3> must{};
    for (std::size_t i = 0; i < kRules.size(); ++i) {
      const Placement* columns[] = {&kRules[i].request, &kRules[i].success, &kRules[i].error};
      for (std::size_t column = 0; column < 3; ++column) {
        for (std::size_t bit = 0; bit < kMethodBits; ++bit)
          must[column][bit] |= std::uint64_t{columns[column]->must >> bit & 1U} << i;
      }
    }
    return must;
  }();
  const MethodSet bit = bit_of(method);
  if (bit == kNone) return 0;
  const std::size_t column = message_class == Class::kSuccess ? 1
                             : message_class == Class::kError ? 2
                                                              : 0;
  return kMust[column][static_cast<std::size_t>(std::countr_zero(bit))];
}

Presence presence(Attribute type, Method method, Class message_class) {
  const AttributeRule* rule = find_attribute_rule(static_cast<std::uint16_t>(type));
  if (rule == nullptr) return Presence::kUnexpected;
  const Placement& placement = column(*rule, message_class);
  const MethodSet bit = bit_of(method);
  if ((placement.must & bit) != 0) return Presence::kMust;
  return (placement.may & bit) != 0 ? Presence::kMay : Presence::kUnexpected;
}

bool is_known_method(std::uint16_t raw_method) {
  return bit_of(static_cast<Method>(raw_method)) != kNone;
}

// Known but unexpected is understood: RFC 8489 §6.3 has such an attribute ignored, not refused.
bool is_understood(std::uint16_t type, Method method) {
  return bit_of(method) != kNone && find_attribute_rule(type) != nullptr &&
         !is_of_nat_discovery(type);
}

std::size_t unknown_attributes(const MessageView& message, std::span<std::uint16_t> out) {
  std::size_t count = 0;
  if (!message.has_unknown() && is_known_method(message.raw_method())) return count;
  message.for_each([&](const AttributeView& attribute) {
    if (!comprehension_required(attribute.type) ||
        is_understood(attribute.type, message.method())) {
      return true;
    }
    const auto found = out.first(count);
    if (std::find(found.begin(), found.end(), attribute.type) != found.end()) return true;
    if (count == out.size()) return false;
    out[count++] = attribute.type;
    return true;
  });
  return count;
}

}  // namespace turnpike::stun
