// What the configuration says of clients' streams: how many there may be, how long they are waited
// for, and what TLS shows them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::config {

// What clients speak to a listener: kAuto tells TCP from TLS by what comes first.
enum class ListenerTransport : std::uint8_t { kUdp, kTcp, kTls, kAuto, kDtls };

constexpr Transport transport_of(ListenerTransport spoken) {
  switch (spoken) {
    case ListenerTransport::kUdp:
      return Transport::kUdp;
    case ListenerTransport::kDtls:
      return Transport::kDtls;
    default:
      return Transport::kTcp;
  }
}

// Files of a certificate of TLS and DTLS listeners: the first is for clients that ask for none by
// name.
struct CertificateConfig {
  std::string chain;  // PEM, the server's own first
  std::string key;    // PEM

  friend bool operator==(const CertificateConfig&, const CertificateConfig&) = default;
};

// Allocations of TCP's (RFC 6062): clients of streams have connections with peers.
struct TcpRelaySection {
  bool enabled = false;
  std::uint32_t sockets = 10000;  // in all: those that listen, and connections with peers
  std::uint32_t connections_per_allocation = 64;
  std::uint32_t connections_per_user = 256;        // 0: no limit
  std::uint32_t connecting_per_allocation = 8;     // of them, those still asked for
  std::uint32_t connects_per_user_per_second = 5;  // at each shard; 0: no limit
  std::uint32_t connects_per_user_burst = 20;
  std::vector<Endpoint> own_host_peers;  // of this host's own, those that may be reached

  friend bool operator==(const TcpRelaySection&, const TcpRelaySection&) = default;
};

struct StreamsSection {
  std::uint16_t threads = 1;
  std::uint32_t connections = 10000;
  std::uint32_t connections_per_source = 1000;  // an IPv4 address, an IPv6 /64; 0: no limit
  std::uint32_t waiting_kib = 256;              // of each, for a client that doesn't read
  std::uint32_t handshake_s = 10;               // to the first message
  std::uint32_t idle_s = 60;                    // without an allocation
  std::vector<Prefix> proxies;                  // who says for whom he connects
  std::string client_authorities;               // PEM; empty: clients need no certificate

  friend bool operator==(const StreamsSection&, const StreamsSection&) = default;
};

}  // namespace turnpike::config
