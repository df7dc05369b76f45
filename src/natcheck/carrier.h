// How messages get to a server and back: UDP, TCP or TLS, one at a time.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "natcheck/exchange.h"
#include "natcheck/path.h"

namespace turnpike::natcheck {

enum class Way : std::uint8_t { kUdp, kTcp, kTls };
std::string_view text_of(Way way);  // "udp", "tcp", "tls"

struct TlsSettings {
  std::string name;     // whose certificate is expected; may be an address
  std::string ca_file;  // empty: whom the system trusts
};

// What TLS has shown of the server.
struct TlsShown {
  std::string version;      // "TLSv1.3"
  std::string certificate;  // its subject, printable
  std::string distrust;     // why the certificate isn't trusted; empty: it is
};

class Carrier {
 public:
  // Connects, and shakes hands; takes at most `patience`. `error` says in a few words why there is
  // none. A certificate that isn't trusted is no reason: tls() tells of it.
  static std::unique_ptr<Carrier> open(Way way, const Path& path, std::uint16_t port,
                                       const TlsSettings& tls, Clock::duration patience,
                                       std::string& error);
  Carrier(const Carrier&) = delete;
  ~Carrier();

  Way way() const { return way_; }
  const TlsShown& tls() const { return shown_; }
  // False: it couldn't be sent whole by `deadline`.
  bool send(stun::Bytes message, Clock::time_point deadline);
  // The next message, of STUN or ChannelData, without padding; nullopt: none by `deadline`, or
  // is_over().
  std::optional<std::vector<std::uint8_t>> receive(Clock::time_point deadline);
  // The connection has ended, or what came is no message.
  bool is_over() const { return over_; }

 private:
  struct Deleter {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  Carrier(Way way, Descriptor socket) : way_(way), socket_(std::move(socket)) {}

  std::string connect_to(const Endpoint& server, Clock::time_point deadline);
  std::string shake_hands(const TlsSettings& settings, Clock::time_point deadline);
  bool wait(short events, Clock::time_point deadline) const;
  bool wait_for_tls(int returned, Clock::time_point deadline);
  bool read_some(Clock::time_point deadline);
  std::optional<std::vector<std::uint8_t>> take_message();

  Way way_;
  Descriptor socket_;
  std::unique_ptr<SSL_CTX, Deleter> context_;
  std::unique_ptr<SSL, Deleter> ssl_;
  TlsShown shown_;
  std::vector<std::uint8_t> unread_;
  bool over_ = false;
};

}  // namespace turnpike::natcheck
