// The command line. The one file here that sees CLI11, which costs seconds to compile.
#include "natcheck/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include "natcheck/lifetime.h"

#ifndef TURNPIKE_VERSION
#error "the build gives the version"
#endif

namespace turnpike::natcheck {
namespace {

constexpr int kUsage = 2;
constexpr double kPatienceMin_s = 0.2, kPatienceMax_s = 30;
constexpr const char* kPasswordVariable = "TURNPIKE_NATCHECK_PASSWORD";
constexpr const char* kSecretVariable = "TURNPIKE_NATCHECK_SECRET";
constexpr const char* kExample = "turnpike-natcheck stun.example.org";

struct Texts {
  std::string server, ways, password_file, secret_file;
  int tls_port = 0;
  bool only_ipv4 = false, only_ipv6 = false;
};

[[noreturn]] void refuse(const std::string& what, const std::string& expected,
                         const std::string& found) {
  throw std::invalid_argument(what + ": expected " + expected + ", found " +
                              (found.empty() ? "nothing" : found));
}

void declare(CLI::App& app, Texts& texts, Options& options) {
  const auto one = [&app](const char* name, auto& into, const char* help, const char* type) {
    return app.add_option(name, into, help)->type_name(type);
  };
  one("server", texts.server,
      "the STUN or TURN server: a name or address, with :PORT where it isn't 3478, or a URI like "
      "turns:example.org:443",
      "SERVER");
  one("--interface", options.interface, "look from this one alone", "NAME|ADDRESS");
  app.add_flag("--ipv4,-4", texts.only_ipv4, "only by IPv4");
  app.add_flag("--ipv6,-6", texts.only_ipv6, "only by IPv6");
  one("--timeout", options.patience_s, "how long silence is waited for (2; 0.2 to 30)", "SECONDS");
  one("--lifetime", options.lifetime_s,
      "find out how long mappings last; takes that long, at most SECONDS (2 to 3600)", "SECONDS");
  one("--tls-port", texts.tls_port, "the port of TLS (5349)", "PORT");
  one("--tls-name", options.tls.name, "whose certificate is expected (SERVER's)", "NAME");
  one("--ca", options.tls.ca_file, "PEM file of authorities to trust instead of the system's",
      "FILE");
  one("--user", options.credentials.user, "check TURN too, as this user", "NAME");
  one("--password-file", texts.password_file, "file whose first line is the password", "FILE");
  one("--password", options.credentials.password, "the password; visible while the program starts",
      "PASSWORD");
  one("--secret-file", texts.secret_file,
      "file whose first line is the secret that makes passwords (REST)", "FILE");
  one("--secret", options.credentials.secret, "the secret; visible while the program starts",
      "SECRET");
  one("--turn", texts.ways, "the transports to check TURN by (udp,tcp,tls)", "LIST");
  app.add_flag("--json", options.json, "one JSON object for programs");
  app.set_version_flag("--version", "turnpike-natcheck " TURNPIKE_VERSION);
  app.set_help_flag("--help", "say this");
  app.footer(std::string("A password is also taken from the environment, ") + kPasswordVariable +
             " or " + kSecretVariable +
             ".\n\n"
             "Exit status: 0 calls get along, mostly without a relay; 1 a relay is needed; "
             "2 a mistake of usage; 3 the server wasn't reached; 4 the server can't tell; "
             "5 TURN was asked for and works by no transport.\n"
             "For example: turnpike-natcheck stun.example.org --lifetime 300\n"
             "             turnpike-natcheck turn.example.org --user alice --password-file pw");
}

std::optional<std::uint16_t> port_of(std::string_view text) {
  std::uint16_t port = 0;
  const auto end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, port);
  if (read.ec != std::errc{} || read.ptr != end || port == 0) return std::nullopt;
  return port;
}

std::string first_line(const std::string& flag, const std::string& name) {
  std::ifstream file(name);
  std::string line;
  if (!file || !std::getline(file, line)) refuse(flag, "a file with one line", name);
  if (line.ends_with('\r')) line.pop_back();
  if (line.empty()) refuse(flag, "a file whose first line isn't empty", name);
  return line;
}

// The flag, else the file, else the environment.
void find_secret(const std::string& flag, const std::string& file, const char* variable,
                 std::string& secret) {
  if (!secret.empty() && !file.empty())
    refuse(flag, "one of " + flag + " and " + flag + "-file", "both");
  if (!file.empty()) secret = first_line(flag + "-file", file);
  const char* value = variable == nullptr ? nullptr : std::getenv(variable);
  if (secret.empty() && value != nullptr) secret = value;
}

std::vector<Way> ways_of(const std::string& text) {
  if (text.empty()) return {Way::kUdp, Way::kTcp, Way::kTls};
  std::vector<Way> ways;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    const auto all = {Way::kUdp, Way::kTcp, Way::kTls};
    const auto found =
        std::find_if(all.begin(), all.end(), [&](Way way) { return word == text_of(way); });
    if (found == all.end()) refuse("--turn", "some of udp,tcp,tls", word);
    if (std::find(ways.begin(), ways.end(), *found) == ways.end()) ways.push_back(*found);
  }
  return ways;
}

void check(const CLI::App& app, const Texts& texts, Options& options) {
  if (texts.server.empty()) throw std::invalid_argument("which SERVER?");
  if (!read_server(texts.server, options))
    refuse("SERVER",
           "a name or address like stun.example.org, 192.0.2.1:3478 or [2001:db8::1]:3478",
           texts.server);
  if (texts.only_ipv4 && texts.only_ipv6) refuse("--ipv4 and --ipv6", "one of them", "both");
  options.ipv4 = !texts.only_ipv6;
  options.ipv6 = !texts.only_ipv4;
  if (app.count("--tls-port") > 0) {
    const auto port = port_of(std::to_string(texts.tls_port));
    if (!port) refuse("--tls-port", "1 to 65535", std::to_string(texts.tls_port));
    options.tls_port = *port;
  }
  if (!(options.patience_s >= kPatienceMin_s && options.patience_s <= kPatienceMax_s))
    refuse("--timeout", "0.2 to 30 seconds", app["--timeout"]->as<std::string>());
  const bool in_range =
      options.lifetime_s >= kShortestLifetime_s && options.lifetime_s <= kLongestLifetime_s;
  if (app.count("--lifetime") > 0 && !in_range)
    refuse("--lifetime", "2 to 3600 seconds", app["--lifetime"]->as<std::string>());
  if (options.tls.name.empty()) options.tls.name = options.host;

  Credentials& credentials = options.credentials;
  // What the environment has is taken where it is of use.
  find_secret("--password", texts.password_file,
              credentials.user.empty() ? nullptr : kPasswordVariable, credentials.password);
  find_secret("--secret", texts.secret_file,
              credentials.password.empty() ? kSecretVariable : nullptr, credentials.secret);
  if (!credentials.password.empty() && !credentials.secret.empty())
    refuse("credentials", "a password or a secret", "both");
  if (!credentials.password.empty() && credentials.user.empty())
    refuse("--user", "a name with the password", "");
  if (!credentials.user.empty() && credentials.password.empty() && credentials.secret.empty())
    refuse("--user",
           std::string("a password: --password-file FILE, or ") + kPasswordVariable +
               " in the environment",
           "");
  if (app.count("--turn") > 0 && !credentials.given())
    refuse("--turn", "credentials: --user NAME with --password-file FILE, or --secret-file FILE",
           "");
  if (credentials.given()) options.turn_ways = ways_of(texts.ways);
}

}  // namespace

bool read_server(const std::string& text, Options& options) {
  std::string_view rest = text;
  bool secure = false;
  for (const std::string_view scheme : {"stuns:", "turns:", "stun:", "turn:"}) {
    if (!rest.starts_with(scheme)) continue;
    secure = scheme.ends_with("s:");
    rest.remove_prefix(scheme.size());
    // `?transport=`: every one is looked at anyway.
    rest = rest.substr(0, rest.find('?'));
    break;
  }
  std::string_view port;
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find(']');
    if (end == std::string_view::npos) return false;
    const std::string_view after = rest.substr(end + 1);
    rest = rest.substr(1, end - 1);
    if (!after.empty() && after[0] != ':') return false;
    if (!after.empty()) port = after.substr(1);
    if (!Address::parse(rest) || (!after.empty() && port.empty())) return false;
  } else if (!Address::parse(rest)) {
    const std::size_t colon = rest.find(':');
    if (colon != std::string_view::npos) {
      port = rest.substr(colon + 1);
      rest = rest.substr(0, colon);
      if (port.empty()) return false;
    }
    const auto is_odd = [](char c) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      return !letter && !(c >= '0' && c <= '9') && c != '.' && c != '-' && c != '_';
    };
    if (rest.empty() || rest[0] == '-' || std::any_of(rest.begin(), rest.end(), is_odd))
      return false;
  }
  if (!port.empty()) {
    const auto number = port_of(port);
    if (!number) return false;
    (secure ? options.tls_port : options.port) = *number;
  }
  options.host = rest;
  return true;
}

std::variant<Options, Exit> read_options(int argc, const char* const* argv) {
  CLI::App app(
      "Says what kind of NAT is between this host and a STUN server, what it lets through, and "
      "whether calls need a relay; with credentials, whether the relay works.",
      "turnpike-natcheck");
  Texts texts;
  Options options;
  declare(app, texts, options);
  try {
    app.parse(argc, argv);
    check(app, texts, options);
  } catch (const CLI::CallForHelp&) {
    return Exit{0, app.help()};
  } catch (const CLI::CallForVersion& version) {
    return Exit{0, std::string(version.what()) + "\n"};
  } catch (const std::exception& error) {
    return Exit{kUsage, "turnpike-natcheck: " + std::string(error.what()) + "\nfor example: " +
                            kExample + "\nturnpike-natcheck --help lists the flags\n"};
  }
  return options;
}

void hide_secrets(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    for (const std::string_view flag : {"--password", "--secret"}) {
      char* value = nullptr;
      const std::string_view word = argv[i];
      if (word == flag && i + 1 < argc) value = argv[i + 1];
      if (word.starts_with(std::string(flag) + "=")) value = argv[i] + flag.size() + 1;
      if (value != nullptr) std::memset(value, '*', std::strlen(value));
    }
  }
}

}  // namespace turnpike::natcheck
