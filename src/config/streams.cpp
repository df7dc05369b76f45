// The keys of [streams] and of each [[certificate]].
#include "config/streams.h"

#include <optional>
#include <string_view>

#include "config/reader.h"

namespace turnpike::config {
namespace {

std::optional<std::string> parse_path(std::string_view text) {
  if (text.empty() || text.find('\0') != std::string_view::npos) return std::nullopt;
  return std::string(text);
}

std::optional<std::string> parse_path_or_none(std::string_view text) {
  return text.empty() ? std::string() : parse_path(text);
}

}  // namespace

Take read_streams(StreamsSection& streams) {
  return Take([&streams](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"threads", integer(streams.threads, 1, 16)},
        {"connections", integer(streams.connections, 1, 1'000'000)},
        {"connections_per_source", integer(streams.connections_per_source, 0, 1'000'000)},
        {"waiting_kib", integer(streams.waiting_kib, 16, 16384)},
        {"handshake_s", integer(streams.handshake_s, 1, 3600)},
        {"idle_s", integer(streams.idle_s, 1, 86400)},
        {"proxies", prefixes(streams.proxies)},
        {"client_authorities",
         parsed(streams.client_authorities, parse_path_or_none,
                "the path of a PEM file with authorities' certificates, or \"\"")},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_tcp_relay(TcpRelaySection& relay) {
  return Take([&relay](Reader& reader, const Value& value, const std::string& path) {
    const auto read_peer = [](Endpoint& peer) {
      return parsed(
          peer,
          [](std::string_view text) {
            const auto found = Endpoint::parse(text);
            return found && found->port != 0 ? found : std::nullopt;
          },
          "an address and port, such as 192.0.2.1:8080 or [2001:db8::1]:8080");
    };
    const Field fields[] = {
        {"enabled", boolean(relay.enabled)},
        {"sockets", integer(relay.sockets, 1, 1'000'000)},
        {"connections_per_allocation", integer(relay.connections_per_allocation, 1, 10'000)},
        {"connections_per_user", integer(relay.connections_per_user, 0, 1'000'000)},
        {"connecting_per_allocation", integer(relay.connecting_per_allocation, 1, 1000)},
        {"connects_per_user_per_second", integer(relay.connects_per_user_per_second, 0, 1000)},
        {"connects_per_user_burst", integer(relay.connects_per_user_burst, 1, 10'000)},
        {"own_host_peers",
         list(relay.own_host_peers, read_peer, "a list of peers, [\"192.0.2.1:8080\"]")},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_certificate(CertificateConfig& certificate) {
  return Take([&certificate](Reader& reader, const Value& value, const std::string& path) {
    constexpr std::string_view kChain =
        "the path of a PEM file with the certificate and its issuers";
    constexpr std::string_view kKey = "the path of a PEM file with the certificate's private key";
    const Field fields[] = {
        {"chain", parsed(certificate.chain, parse_path, kChain)},
        {"key", parsed(certificate.key, parse_path, kKey)},
    };
    reader.read_table(value, path, fields);
    if (!value.as<Value::Table>()) return;
    if (certificate.chain.empty()) reader.refuse(path + ".chain", kChain, "nothing");
    if (certificate.key.empty()) reader.refuse(path + ".key", kKey, "nothing");
  });
}

}  // namespace turnpike::config
