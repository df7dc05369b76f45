// Any datagram at the STUN parser, every getter, both integrity checks and the stateless answers;
// without magic cookie at classic STUN.
//
// Besides not crashing: the index finds what a walk finds first, whatever parses is read the same
// after having been written again, an answer is a sound STUN message that fits its buffer and has
// what the attribute table says it must and may have, and nothing is admitted whose nonce isn't
// ours.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "turnpike/integrity.h"
#include "turnpike/nonce.h"
#include "turnpike/stateless_answers.h"
#include "turnpike/stun.h"
#include "wire/attributes.h"

namespace {

using namespace turnpike;
using stun::Attribute;
using stun::AttributeView;
using stun::Bytes;
using stun::MessageView;
using stun::MessageWriter;

constexpr Instant kNow{5'000'000};
const Endpoint kClient{Address::v4(198, 51, 100, 7), 40000};
const Endpoint kServer{Address::v4(203, 0, 113, 1), 3478};
const Realm kRealm{.name = "example.org"};

void require(bool condition) {
  if (!condition) std::abort();
}

const NonceKeeper& nonces() {
  static const NonceKeeper keeper({.key = {1, 2, 3}});
  return keeper;
}
const StatelessAnswers& stateless_answers() {
  static const StatelessAnswers stateless({.realms = {kRealm}}, nonces());
  return stateless;
}

void read_everything(const MessageView& view) {
  for (const stun::AttributeRule& rule : stun::attribute_rules()) {
    static_cast<void>(view.address(rule.type));
    static_cast<void>(view.u32(rule.type));
    static_cast<void>(view.family_octet(rule.type));
    if (const auto endpoint = view.xor_address(rule.type)) {
      require(Endpoint::parse(endpoint->to_string()) == endpoint);
    }
    if (const auto text = view.text(rule.type)) {
      const auto prepared = stun::opaque_string(*text);
      if (prepared) require(stun::opaque_string(*prepared) == prepared);
    }
  }
  std::vector<std::uint16_t> walked;
  view.for_each([&](const AttributeView& attribute) {
    if (std::find(walked.begin(), walked.end(), attribute.type) != walked.end()) return true;
    walked.push_back(attribute.type);
    const auto found = view.find(static_cast<Attribute>(attribute.type));
    const bool known = stun::find_attribute_rule(attribute.type) != nullptr;
    require(known ? found && found->offset == attribute.offset : !found);
    return true;
  });
  for (const stun::AttributeRule& rule : stun::attribute_rules()) {
    const auto type = static_cast<std::uint16_t>(rule.type);
    require(!view.has(rule.type) || std::find(walked.begin(), walked.end(), type) != walked.end());
  }
  static_cast<void>(view.channel_number());
  static_cast<void>(view.response_port());
  static_cast<void>(view.requested_transport());
  static_cast<void>(view.even_port_reserve());
  if (const auto code = view.error_code()) require(*code >= 300 && *code <= 699);
  std::array<std::uint16_t, 4> unknown{};
  require(stun::unknown_attributes(view, unknown) <= unknown.size());
  constexpr std::array<std::uint8_t, 4> kKey{1, 2, 3, 4};
  static_cast<void>(stun::check_message_integrity(view, kKey));
  static_cast<void>(stun::check_message_integrity_sha256(view, kKey));
}

bool same(const AttributeView& a, const AttributeView& b) {
  return a.type == b.type &&
         std::equal(a.value.begin(), a.value.end(), b.value.begin(), b.value.end());
}

std::vector<AttributeView> without_fingerprint(const MessageView& view) {
  std::vector<AttributeView> attributes;
  view.for_each([&](const AttributeView& attribute) {
    if (attribute.type != static_cast<std::uint16_t>(Attribute::kFingerprint)) {
      attributes.push_back(attribute);
    }
    return true;
  });
  return attributes;
}

void write_again(const MessageView& view) {
  std::vector<std::uint8_t> buffer(view.bytes().size(), 0xEE);
  MessageWriter writer(buffer, view.message_class(), view.method(), view.transaction_id());
  const std::vector<AttributeView> attributes = without_fingerprint(view);
  for (const AttributeView& attribute : attributes) {
    writer.add(static_cast<Attribute>(attribute.type), attribute.value);
  }
  if (view.has_fingerprint()) writer.add_fingerprint();
  MessageView again;
  require(MessageView::parse(writer.finish(), again) == stun::ParseError::kNone);
  require(again.message_class() == view.message_class() && again.method() == view.method());
  require(again.has_fingerprint() == view.has_fingerprint());
  const std::vector<AttributeView> copies = without_fingerprint(again);
  require(std::equal(copies.begin(), copies.end(), attributes.begin(), attributes.end(), same));
}

void check_placements(const MessageView& answer) {
  require(answer.complete());
  answer.for_each([&](const AttributeView& attribute) {
    require(stun::presence(static_cast<Attribute>(attribute.type), answer.method(),
                           answer.message_class()) != stun::Presence::kUnexpected);
    return true;
  });
}

// One of four.
const Listener& with_discovery() {
  static const Listener listener = [] {
    Listener one{kServer};
    one.discovery.emplace();
    for (const Origin origin : {Origin{0}, kChangePort, kChangeAddress, kChangeBoth}) {
      Endpoint place = kServer;
      if ((origin & kChangeAddress) != 0) ++place.address.bytes[3];
      if ((origin & kChangePort) != 0) ++place.port;
      one.discovery->origins[origin] = {place, place};
    }
    return one;
  }();
  return listener;
}

// No answer to a stranger is worth anything to a reflector.
void check_size(std::size_t request, std::size_t answer) {
  constexpr std::size_t kIpUdp = 28;
  require(kIpUdp + answer <= 3 * (kIpUdp + request));
}

void ask(const MessageView& view, bool known, const Listener& listener) {
  std::array<std::uint8_t, kPaddedAnswerMax> out;
  const StatelessResult result =
      stateless_answers().answer(kNow, view, kClient, listener, known, out);
  if (result.verdict == StatelessVerdict::kAnswered) {
    require(result.size <= out.size() && (result.padded || result.size <= kAnswerMax));
    check_size(view.bytes().size(), result.size);
    MessageView answer;
    require(MessageView::parse(Bytes(out).first(result.size), answer) == stun::ParseError::kNone);
    require(answer.transaction_id() == view.transaction_id());
    require(answer.has_fingerprint() == view.has_fingerprint());
    check_placements(answer);
  }
  if (result.verdict == StatelessVerdict::kAdmit) {
    const auto nonce = view.text(Attribute::kNonce);
    require(nonce &&
            nonces().check(kNow, kRealm, kClient, kServer, *nonce) != NonceState::kInvalid);
  }
}

// A MAC can't be guessed: a nonce of the right size is replaced by a real one, so that what lies
// behind the check is reached too.
void ask_with_a_real_nonce(const MessageView& view) {
  std::array<char, NonceKeeper::kMaxSize> nonce;
  const std::size_t size = nonces().mint(kNow, kRealm, kClient, kServer, nonce);
  const auto attribute = view.find(Attribute::kNonce);
  if (!attribute || attribute->value.size() != size) return;
  std::vector<std::uint8_t> bytes(view.bytes().begin(), view.bytes().end());
  std::copy_n(nonce.begin(), size, bytes.begin() + attribute->offset + 4);
  MessageView patched;
  if (MessageView::parse(bytes, patched) == stun::ParseError::kNone) ask(patched, true, {kServer});
}

void ask_the_old_way(Bytes bytes, const Listener& listener) {
  std::array<std::uint8_t, kAnswerMax> out;
  const stun::ClassicResult result =
      stateless_answers().answer_classic(bytes, kClient, listener, out);
  require(result.size <= out.size());
  const bool answered =
      result.what == stun::Classic::kSuccess || result.what == stun::Classic::kUnknown;
  require(answered == (result.size != 0));
  check_size(bytes.size(), result.size);
  if (answered) require(std::equal(out.begin() + 4, out.begin() + 20, bytes.begin() + 4));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ask_the_old_way({data, size}, {kServer});
  ask_the_old_way({data, size}, with_discovery());
  MessageView view;
  if (MessageView::parse({data, size}, view) != stun::ParseError::kNone) return 0;
  read_everything(view);
  write_again(view);
  ask(view, false, {kServer});
  ask(view, false, with_discovery());
  ask_with_a_real_nonce(view);
  return 0;
}
