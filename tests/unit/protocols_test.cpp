// Built-in protocols, by bytes written after their specifications; and that what calls are made of
// is taken for none of those that abusers like.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <span>
#include <string>

#include "policy/payload_rules.h"
#include "policy/protocols.h"

namespace turnpike::policy {
namespace {

using Bytes = std::vector<std::uint8_t>;

// "23 00 *4 'GET'": hexadecimal bytes, a number of bytes of noise, and text.
Bytes bytes(const std::string& words) {
  static std::mt19937 noise(1);
  Bytes out;
  std::istringstream stream(words);
  for (std::string word; stream >> word;) {
    if (word[0] == '*') {
      for (int n = std::stoi(word.substr(1)); n > 0; --n)
        out.push_back(static_cast<std::uint8_t>(noise()));
    } else if (word[0] == '0' && word[1] == 'x') {  // so many zeros
      out.resize(out.size() + std::stoul(word.substr(2)));
    } else if (word[0] == '\'') {
      for (const char c : word.substr(1))
        out.push_back(c == '_'   ? ' '
                      : c == '|' ? '\n'
                      : c == '~' ? '\r'
                                 : static_cast<std::uint8_t>(c));
    } else {
      out.push_back(static_cast<std::uint8_t>(std::stoul(word, nullptr, 16)));
    }
  }
  return out;
}

std::shared_ptr<const PayloadRules> rules_of(std::string_view group) {
  PayloadRules::Config config;
  for (const std::string_view name : protocols_named(group))
    config.rules.push_back({.name = std::string(name), .patterns = patterns_of(name, 0)});
  auto made = PayloadRules::make(std::move(config));
  if (const auto* error = std::get_if<PatternError>(&made))
    throw std::runtime_error(std::to_string(error->pattern) + ": " + error->problem);
  return std::get<std::shared_ptr<const PayloadRules>>(made);
}

std::string name_of(const PayloadRules& rules, std::span<const std::uint8_t> body) {
  const RuleNumber rule = rules.match(0, body, true);
  return rule == 0 ? "" : rules.rules()[rule - 1u].name;
}

TEST(Protocols, OfAbuseAreKnownByTheirFirstBytes) {
  const auto rules = rules_of(kAbuse);
  const std::pair<const char*, const char*> cases[] = {
      // RFC 1035: example.com A IN, plain and with EDNS; root NS; an answer; ANY.
      {"dns", "ab cd 01 00 00 01 00 00 00 00 00 00 07 'example 03 'com 00 00 01 00 01"},
      {"dns",
       "12 34 01 20 00 01 00 00 00 00 00 01 04 'dns0 03 'org 00 00 ff 00 01 00 00 29 10 00 00 00"},
      {"dns", "12 34 01 00 00 01 00 00 00 00 00 00 00 00 02 00 01"},
      {"dns", "12 34 81 80 00 01 00 0d 00 00 00 01 07 'example 03 'com 00 00 ff 00 01 c0 0c"},
      {"dns", "12 34 81 80 00 01 00 0d 00 00 00 01 00 00 02 00 01 00 00 02 00 01"},
      // RFC 5905: ntpdate's and chrony's requests, an answer; with a key; and what amplifies.
      {"ntp", "e3 00 03 fa 00 01 00 00 00 01 00 00 0x4 0x24 *8"},
      {"ntp", "23 00 06 20 0x8 0x4 0x24 *8"},
      {"ntp", "24 02 06 e9 00 00 0b f7 00 00 12 34 *36"},
      {"ntp", "24 02 06 e9 00 00 0b f7 00 00 12 34 *36 00 00 00 01 *20"},
      {"ntp", "17 00 03 2a 00 00 00 00 0x40"},
      {"ntp", "d7 00 03 2a 00 06 00 48 *72"},
      {"ntp", "16 02 00 01 00 00 00 00 00 00 00 00"},
      {"ssdp", "'M-SEARCH_*_HTTP/1.1~|Host:239.255.255.250:1900~|"},
      {"ssdp", "'HTTP/1.1_200_OK~|ST:_ssdp:all~|USN:_uuid:1~|"},
      {"ssdp", "'NOTIFY_*_HTTP/1.1~|"},
      {"memcached", "00 01 00 00 00 01 00 00 'stats~|"},
      {"memcached", "00 01 00 05 00 20 00 00 'VALUE_a_0_1000~|"},
      // A search for objectClass, and its answer (RFC 4511).
      {"cldap",
       "30 25 02 01 01 63 20 04 00 0a 01 00 0a 01 00 02 01 00 02 01 00 01 01 00 87 0b 'objectclass "
       "30 00"},
      {"cldap", "30 84 00 00 0b 00 02 01 01 64 84 00 00 0a f0 04 00 30 84 00 00 0a e8 *100"},
      {"snmp", "30 26 02 01 01 04 06 'public a5 19 02 04 12 34 56 78 02 01 00 02 01 64 30 0b *11"},
      {"snmp", "30 3e 02 01 03 30 11 02 04 *4 02 03 00 ff e3 04 01 04 02 01 03"},
      {"sip_scan", "'OPTIONS_sip:100@192.0.2.1_SIP/2.0~|Via:_x~|User-Agent:_friendly-scanner~|"},
      {"bittorrent", "'d1:ad2:id20: *20 '9:info_hash20: *20 'e1:q9:get_peers1:t2:aa1:y1:qe"},
      {"bittorrent", "'d2:ip6: *6 '1:rd2:id20: *20"},
      {"bittorrent", "00 00 04 17 27 10 19 80 00 00 00 00 *4"},
      {"utp", "41 00 *2 *4 00 00 00 00 00 10 00 00 00 01 00 00"},
      {"openvpn", "38 *8 00 00 00 00 00"},
      {"openvpn", "38 *8 *20 00 00 00 01 65 aa bb cc 00 00 00 00 00"},
      {"openvpn", "38 *8 *64 00 00 00 01 65 aa bb cc 00 00 00 00 00"},
      {"openvpn", "38 *8 00 00 00 01 65 aa bb cc *32 *5"},
      {"openvpn", "40 *8 01 00 00 00 00 *8 00 00 00 00 *20"},
      {"wireguard", "01 00 00 00 *144"},
      {"wireguard", "02 00 00 00 *88"},
      {"wireguard", "04 00 00 00 *4 01 00 00 00 00 00 00 00 *16 *16"},
      // IKE_SA_INIT there and back, over port 4500, and IKEv1's main mode.
      {"ipsec", "*8 0x8 21 20 22 08 00 00 00 00 00 00 01 f0 *20"},
      {"ipsec", "*8 *8 21 20 22 20 00 00 00 00 00 00 01 f0 *20"},
      {"ipsec", "0x4 *8 *8 2e 20 23 08 00 00 00 01 00 00 01 00 *20"},
      {"ipsec", "*8 0x8 01 10 02 00 00 00 00 00 00 00 00 ac *20"},
      {"ssh", "'SSH-2.0-OpenSSH_9.2~|"},
      {"http", "'GET_/index.html_HTTP/1.1~|Host:_x~|"},
      {"http", "'CONNECT_example.org:443_HTTP/1.1~|"},
      {"http", "'HTTP/1.1_403_Forbidden~|"},
      {"quic", "c3 00 00 00 01 08 *8 00 00 44 9e *1100"},
      {"quic", "d3 6b 33 43 cf 08 *8 00 00 44 9e *1100"},
  };
  // Wherever they lie and whatever the noise is: a library's vectors may miss some alone.
  alignas(64) std::array<std::uint8_t, 4096> arena{};
  for (std::size_t at = 0; at < 64; ++at) {
    for (const auto& [name, words] : cases) {
      const Bytes body = bytes(words);
      std::copy(body.begin(), body.end(), arena.begin() + at);
      ASSERT_EQ(name_of(*rules, std::span(arena).subspan(at, body.size())), name)
          << words << " at " << at;
    }
  }
  std::set<std::string> tried;
  for (const auto& [name, words] : cases)
    tried.insert(name);
  EXPECT_EQ(tried.size(), protocols_named(kAbuse).size()) << "each is tried";
}

// What browsers, SIP phones, games and relays behind the relay send; by form, the rest noise.
const std::pair<const char*, const char*> kCalls[] = {
    {"stun", "00 01 00 50 21 12 a4 42 *12 *80"},
    {"stun", "01 01 00 44 21 12 a4 42 *12 *68"},
    {"stun", "00 16 00 30 21 12 a4 42 *12 *48"},
    {"dtls", "16 fe ff 00 00 00 00 00 00 00 00 00 a0 01 *150"},
    {"dtls", "16 fe fd 00 01 00 00 00 00 00 00 00 40 *64"},
    {"dtls", "17 fe fd 00 01 00 00 00 00 00 05 00 40 *64"},
    {"dtls", "14 fe fd 00 00 00 00 00 00 00 07 00 01 01"},
    {"dtls", "2e *2 00 30 *48"},
    {"rtp", "80 6f *2 *4 *4 *160"},
    {"rtp", "90 e0 *2 *4 *4 be de 00 01 *1100"},
    {"rtp", "80 00 *2 *4 *4 *160"},
    {"rtcp", "80 c8 00 06 *4 *24 *14"},
    {"rtcp", "8f ce 00 05 *20"},
    {"zrtp", "10 00 *2 'ZRTP *4 50 5a 00 1c 'Hello___ *60"},
    {"turn_channel", "40 00 00 64 *100"},
};

TEST(Protocols, OfCallsAreKnown) {
  const auto rules = rules_of(kWebrtc);
  for (int i = 0; i < 200; ++i) {
    for (const auto& [name, words] : kCalls) {
      const std::string found = name_of(*rules, bytes(words));
      // RTCP's second byte is an RTP's marker and type: the first rule that knows it counts.
      EXPECT_TRUE(found == name || (std::string(name) == "rtcp" && found == "rtp"))
          << words << " is " << found;
    }
  }
}

TEST(Protocols, OfCallsAreNeverTakenForAbuse) {
  const auto rules = rules_of(kAbuse);
  for (int i = 0; i < 20'000; ++i) {
    for (const auto& [name, words] : kCalls) {
      const Bytes body = bytes(words);
      ASSERT_EQ(name_of(*rules, body), "") << name << ": " << words;
    }
  }
  // First packets of plain senders: small numbers everywhere.
  for (unsigned sequence = 0; sequence < 256; ++sequence) {
    for (const unsigned stamp : {0U, 1U, 160U, 960U, 65536U, 90000U}) {
      for (const unsigned source : {0U, 1U, 2U, 0x1234U, 0x11223344U}) {
        for (const unsigned type : {0U, 8U, 96U, 111U, 128U, 224U}) {
          Bytes body{0x80, static_cast<std::uint8_t>(type), 0, static_cast<std::uint8_t>(sequence)};
          for (const unsigned word : {stamp, source}) {
            for (int shift = 24; shift >= 0; shift -= 8)
              body.push_back(static_cast<std::uint8_t>(word >> shift));
          }
          body.resize(172, 0xFF);
          ASSERT_EQ(name_of(*rules, body), "") << sequence << ' ' << stamp << ' ' << source;
        }
      }
    }
  }
  // SIP that is none of a scanner's; games' queries; an echo.
  for (const char* words :
       {"'INVITE_sip:bob@example.org_SIP/2.0~|User-Agent:_Linphone/5.0~|", "'SIP/2.0_200_OK~|",
        "'REGISTER_sip:example.org_SIP/2.0~|User-Agent:_Grandstream~|",
        "ff ff ff ff 'TSource_Engine_Query 00", "fe fd 09 00 00 00 01", "01 0x8 *30", "'hello",
        "00", "0d 0a 0d 0a", "00 00 00 00"}) {
    EXPECT_EQ(name_of(*rules, bytes(words)), "") << words;
  }
}

TEST(Protocols, HaveNamesOfOneOrOfAGroup) {
  EXPECT_EQ(protocols_named("dns"), (std::vector<std::string_view>{"dns"}));
  EXPECT_TRUE(protocols_named("gopher").empty());
  EXPECT_EQ(protocols_named(kAbuse).size() + protocols_named(kWebrtc).size(), protocols().size());
}

}  // namespace
}  // namespace turnpike::policy
