// One row a protocol, one expression a form of its packets. Written after the protocols' own
// specifications, which each row names.
#include "policy/protocols.h"

#include <algorithm>
#include <array>
#include <string>

namespace turnpike::policy {
namespace {

constexpr auto kProtocols = std::to_array<Protocol>({
    {"dns", false, "queries and answers (RFC 1035), also as reflected"},
    {"ntp", false, "clients, servers, and the control messages that reflectors are asked with"},
    {"ssdp", false, "searches, notices and answers of UPnP"},
    {"memcached", false, "its UDP frames (protocol.txt)"},
    {"cldap", false, "LDAP searches over UDP and what comes back (RFC 1798)"},
    {"snmp", false, "versions 1, 2c and 3 (RFC 1157, 3416, 3412)"},
    {"sip_scan", false, "SIP requests of known scanners; other SIP is left alone"},
    {"bittorrent", false, "DHT (BEP 5), UDP trackers (BEP 15), local discovery (BEP 14)"},
    {"utp", false, "the opening packet of uTP (BEP 29)"},
    {"openvpn", false, "the opening packets of a session"},
    {"wireguard", false, "hand-shakes and data"},
    {"ipsec", false, "IKE, versions 1 and 2, also over port 4500 (RFC 7296, 3948)"},
    {"ssh", false, "version lines (RFC 4253)"},
    {"http", false, "requests and answers of HTTP/1 in datagrams"},
    {"quic", false, "long headers (RFC 9000, 9369)"},
    {"stun", true, "STUN and TURN messages (RFC 8489)"},
    {"dtls", true, "DTLS 1.0 to 1.3 (RFC 6347, 9147)"},
    {"rtp", true, "RTP and SRTP (RFC 3550, 3711)"},
    {"rtcp", true, "RTCP and SRTCP"},
    {"zrtp", true, "ZRTP (RFC 6189)"},
    {"turn_channel", true, "ChannelData: a relay behind the relay (RFC 8656)"},
});

struct Form {
  std::string_view protocol;
  std::string_view expression;
  bool caseless = false;
};

// Lengths of BER (X.690), and a message number.
#define BER "([\\x00-\\x7f]|\\x81.|\\x82..|\\x84....)"
// What an NTP header has behind its first byte: stratum, poll, precision, then root delay and
// dispersion of a few seconds at most. With or without a key's 20 or 24 bytes.
#define NTP_REST                                                                            \
  "[\\x00-\\x10][\\x00-\\x11][\\x00\\x20\\xe0-\\xff]\\x00[\\x00-\\x01]..\\x00[\\x00-\\x0f]" \
  "..(.{36}|.{56}|.{60})\\z"
// IKE's next payload, version, exchange, flags.
#define IKE2 "[\\x21-\\x2e\\x35]\\x20[\\x22-\\x25][\\x00\\x08\\x20\\x28]\\x00\\x00\\x00.\\x00\\x00"
#define IKE1 "[\\x01\\x04\\x05\\x08]\\x10[\\x02\\x04\\x05\\x20][\\x00-\\x03]"

constexpr auto kForms = std::to_array<Form>({
    // Identification, flags, counts of one question and few records, and a first label.
    {"dns",
     R"(^..[\x00\x01][\x00\x10\x20\x30]\x00\x01\x00\x00\x00\x00\x00[\x00-\x02][\x01-\x3f][-0-9A-Z_a-z])"},
    {"dns", R"(^..[\x00\x01][\x00\x10\x20\x30]\x00\x01\x00\x00\x00\x00\x00[\x00-\x02]\x00\x00)"},
    {"dns", R"(^..[\x80-\x87].\x00\x01\x00.\x00.\x00.[\x01-\x3f][-0-9A-Z_a-z])"},
    {"dns", R"(^..[\x80-\x87].\x00\x01\x00.\x00.\x00.\x00\x00)"},
    {"ntp", R"(^[\x0b\x13\x1b\x23\xcb\xd3\xdb\xe3])" NTP_REST},
    {"ntp", R"(^[\x0c\x14\x1c\x24\x54\x5c\x64\x94\x9c\xa4\xd4\xdc\xe4])" NTP_REST},
    {"ntp", R"(^[\x17\x1f\x27].\x03[\x14\x2a]\x00\x00\x00)"},
    {"ntp", R"(^[\x97\x9f\xa7\xd7\xdf\xe7].\x03[\x14\x2a]\x00.\x00[\x20\x48])"},
    {"ntp", R"(^[\x16\x1e\x26][\x01\x02\x0a]..\x00\x00..\x00\x00\x00)"},
    {"ntp", R"(^[\x16\x1e\x26][\x81\x82\xa1\xa2]....\x00\x00.{4}[\x20-\x7e]{4})"},
    {"ssdp", R"(^(M-SEARCH|NOTIFY) \* HTTP/1\.[01]\r\n)", true},
    {"ssdp", R"(^HTTP/1\.[01] 200 OK\r\n.*\nUSN:)", true},
    {"memcached",
     R"(^..\x00\x00\x00\x01\x00\x00(gets? |stats|version|[sg]ets? |add |delete |incr |flush_all))"},
    {"memcached", R"(^......\x00\x00(VALUE |STAT |END\r\n|ERROR\r\n|VERSION |STORED\r\n))"},
    {"cldap", R"(^\x30)" BER R"(\x02[\x01-\x04].{1,4}\x63)" BER
              R"(\x04.{0,64}\x0a\x01[\x00-\x02]\x0a\x01[\x00-\x03])"},
    {"cldap", R"(^\x30)" BER R"(\x02[\x01-\x04].{1,4}\x64)" BER R"(\x04[\x00-\x7f])"},
    {"cldap", R"(^\x30)" BER R"(\x02[\x01-\x04].{1,4}\x65)" BER R"(\x0a\x01[\x00-\x50]\x04)"},
    {"snmp", R"(^\x30)" BER R"(\x02\x01[\x00\x01]\x04[\x01-\x20][\x20-\x7e]{1,32}[\xa0-\xa8])" BER
             R"(\x02)"},
    {"snmp", R"(^\x30)" BER R"(\x02\x01\x03\x30[\x00-\x7f]\x02[\x01-\x05])"},
    {"sip_scan",
     R"(^(OPTIONS|REGISTER|INVITE|SUBSCRIBE) sips?:.*\nUser-Agent: *(friendly-scanner|friendly-request|sipvicious|sip-scan|sipcli|sipsak|sundayddr|VaxSIPUserAgent|pplsip|iWar|smap|sivus|Gulp))",
     true},
    {"bittorrent", R"(^d(2:ip(6|18):.{6,18})?1:[are](d2:id20:|li[0-9]))"},
    {"bittorrent", R"(^\x00\x00\x04\x17\x27\x10\x19\x80\x00\x00\x00\x00)"},
    {"bittorrent", R"(^BT-SEARCH \* HTTP/1)"},
    {"bittorrent", R"(\x13BitTorrent protocol)"},
    {"utp", R"(^\x41[\x00\x02].{6}\x00\x00\x00\x00.{4}\x00\x01\x00\x00)"},
    // Plain, under tls-auth (of SHA-1, SHA-256, SHA-512) and tls-crypt; what the server says.
    {"openvpn", R"(^\x38.{8}\x00\x00\x00\x00\x00\z)"},
    // Without its end: Vectorscan 5.4.9 misses that of the longest one where it uses AVX-512.
    {"openvpn", R"(^\x38.{8}(.{20}|.{32}|.{64})\x00\x00\x00\x01.{4}\x00\x00\x00\x00\x00)"},
    {"openvpn", R"(^[\x38\x50].{8}\x00\x00\x00\x01[\x5f-\x7f].{3}.{37})"},
    {"openvpn", R"(^\x40.{8}\x01\x00\x00\x00\x00.{8}\x00\x00\x00\x00)"},
    {"wireguard", R"(^\x01\x00\x00\x00.{144}\z)"},
    {"wireguard", R"(^\x02\x00\x00\x00.{88}\z)"},
    {"wireguard", R"(^\x03\x00\x00\x00.{60}\z)"},
    {"wireguard", R"(^\x04\x00\x00\x00.{6}\x00{6}(.{16})+\z)"},
    {"ipsec", R"(^(\x00\x00\x00\x00)?.{16})" IKE2},
    {"ipsec", R"(^(\x00\x00\x00\x00)?.{8}\x00{8})" IKE1 R"(\x00{4}\x00\x00)"},
    {"ssh", R"(^SSH-(1\.99|2\.0|1\.5)-)"},
    {"http", R"(^(GET|HEAD|POST|PUT|DELETE|OPTIONS|CONNECT|PATCH) [!-~]+ HTTP/1\.[01]\r\n)"},
    {"http", R"(^HTTP/1\.[01] [1-5][0-9][0-9][ \r])"},
    {"quic",
     R"(^[\xc0-\xff](\x00\x00\x00\x01|\x6b\x33\x43\xcf|\xff\x00\x00[\x1d-\x22])[\x00-\x14])"},
    {"stun", R"(^[\x00-\x3f]...\x21\x12\xa4\x42.{12})"},
    {"dtls", R"(^[\x14-\x1a]\xfe[\xff\xfd\xfc].{10})"},
    {"dtls", R"(^[\x20-\x3f].{17})"},  // DTLS 1.3's unified header, a byte of number and a tag
    {"rtp", R"(^[\x80-\xbf].{11})"},
    {"rtcp", R"(^[\x80-\xbf][\xc0-\xdf].{6})"},
    {"zrtp", R"(^[\x10-\x13]...ZRTP)"},
    {"turn_channel", R"(^[\x40-\x4f]...)"},
});

}  // namespace

std::span<const Protocol> protocols() {
  return kProtocols;
}

std::vector<std::string_view> protocols_named(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Protocol& protocol : kProtocols) {
    if (name == protocol.name || name == (protocol.webrtc ? kWebrtc : kAbuse))
      names.push_back(protocol.name);
  }
  return names;
}

std::vector<Pattern> patterns_of(std::string_view protocol, std::uint32_t id) {
  std::vector<Pattern> patterns;
  for (const Form& form : kForms) {
    if (form.protocol == protocol)
      patterns.push_back({std::string(form.expression), form.caseless, id});
  }
  return patterns;
}

}  // namespace turnpike::policy
