// The command line. The one file here that sees CLI11, which costs seconds to compile.
#include "options.h"

#include <CLI/CLI.hpp>
#include <initializer_list>
#include <stdexcept>
#include <utility>

namespace turnpike::streams {
namespace {

constexpr std::uint16_t kLeastPayload = 24;  // what carries client, sequence, time and a check
constexpr std::uint16_t kMostPayload = 1400;

struct Texts {
  std::string mode = "media", transport = "tcp", server = "10.203.0.1:3478", directions = "both",
              until = "allocation", peers, raw;
  std::vector<std::string> from;
};

[[noreturn]] void refuse(const std::string& flag, const std::string& expected,
                         const std::string& found) {
  throw std::invalid_argument(flag + ": expected " + expected + ", found " +
                              (found.empty() ? "nothing" : found));
}

template <typename T>
T choose(const std::string& flag, const std::string& found,
         std::initializer_list<std::pair<const char*, T>> choices) {
  std::string expected;
  for (const auto& [name, value] : choices) {
    if (found == name) return value;
    expected += (expected.empty() ? "" : ", ") + std::string(name);
  }
  refuse(flag, "one of " + expected, found);
}

Address address_of(const std::string& flag, const std::string& text) {
  const auto address = Address::parse(text);
  if (!address) refuse(flag, "an address", text);
  return *address;
}

void declare(CLI::App& app, Texts& texts, Options& options) {
  const auto one = [&app](const char* name, auto& into, const char* help, const char* type) {
    return app.add_option(name, into, help)->type_name(type)->capture_default_str();
  };
  one("--mode", texts.mode,
      "media (messages at a rate, each checked), storm (connections that come and go), idle "
      "(allocations that are held), reconnect (idle, until the server cuts them all; how long "
      "until they are back)",
      "MODE");
  one("--transport", texts.transport, "tcp, tls or dtls", "TRANSPORT");
  one("--server", texts.server, "the TURN server", "ADDRESS:PORT");
  app.add_option("--from", texts.from, "local addresses of clients, taken in turn")
      ->type_name("ADDRESS");
  one("--peers", texts.peers, "local address of the peers; else that of the first client",
      "ADDRESS");
  one("--name", options.name, "server name to ask for (SNI)", "NAME");
  one("--raw", texts.raw,
      "no TURN: the server is a proxy that ends TLS and passes bytes on to this address of ours",
      "ADDRESS:PORT");
  app.add_flag("--tls12", options.tls12, "TLS 1.2 instead of 1.3");
  one("--user", options.user, "user name", "NAME");
  one("--password", options.password, "password", "PASSWORD");

  one("--clients", options.clients, "clients, each with a connection of its own", "N");
  one("--window", options.window, "of them, those that are on their way at a time, for each thread",
      "N");
  one("--lifetime", options.lifetime_s, "lifetime to ask for, in seconds", "S");
  one("--refresh", options.refresh_s, "seconds between refreshes of each", "S");

  one("--direction", texts.directions, "both, up (from clients) or down (from peers)", "DIRECTION");
  one("--payload", options.payload, "bytes of a message", "BYTES");
  one("--rate", options.rate_pps,
      "messages (storm: clients) a second, all together; 0: as fast as can be", "N");
  one("--seconds", options.seconds, "how long", "S");
  one("--warm-up", options.warm_up_s, "how long media are sent before that, uncounted", "S");
  app.add_flag("--pause", options.pause,
               "media: wait for a line `go [SECONDS [RATE]]` on stdin before each run, until the "
               "input ends");
  one("--until", texts.until, "storm: a client leaves after its handshake, binding or allocation",
      "STEP");
  app.add_flag("--resume", options.resume, "storm: resume the session of a client before");

  one("--threads", options.threads, "threads, each with its share of clients and rate", "N");
  one("--core", options.core, "core of the first thread; the others take the next ones", "N");
  one("--json", options.json_file, "write the last report there too", "FILE");
}

void read_texts(const Texts& texts, Options& options) {
  options.mode = choose<Mode>("--mode", texts.mode,
                              {{"media", Mode::kMedia},
                               {"storm", Mode::kStorm},
                               {"idle", Mode::kIdle},
                               {"reconnect", Mode::kReconnect}});
  options.security = choose<Security>(
      "--transport", texts.transport,
      {{"tcp", Security::kTcp}, {"tls", Security::kTls}, {"dtls", Security::kDtls}});
  options.directions = choose<Directions>(
      "--direction", texts.directions,
      {{"both", Directions::kBoth}, {"up", Directions::kUp}, {"down", Directions::kDown}});
  options.until = choose<Until>("--until", texts.until,
                                {{"handshake", Until::kHandshake},
                                 {"binding", Until::kBinding},
                                 {"allocation", Until::kAllocation}});
  const auto server = Endpoint::parse(texts.server);
  if (!server || server->port == 0)
    refuse("--server", "ADDRESS:PORT like 10.203.0.1:3478", texts.server);
  options.server = *server;
  for (const std::string& text : texts.from)
    options.from.push_back(address_of("--from", text));
  if (!texts.raw.empty()) {
    options.raw = Endpoint::parse(texts.raw);
    if (!options.raw) refuse("--raw", "ADDRESS:PORT like 10.205.0.1:5000", texts.raw);
  }
  if (!texts.peers.empty()) options.peers = address_of("--peers", texts.peers);
}

void check(const Options& options) {
  if (options.clients == 0 || options.clients > 1'000'000)
    refuse("--clients", "1 to 1000000", std::to_string(options.clients));
  if (options.window == 0) refuse("--window", "at least 1", "0");
  if (options.threads == 0 || options.threads > options.clients)
    refuse("--threads", "1 to as many as there are clients", std::to_string(options.threads));
  if (options.payload < kLeastPayload || options.payload > kMostPayload)
    refuse("--payload", "24 to 1400", std::to_string(options.payload));
  if (options.refresh_s == 0) refuse("--refresh", "at least 1", "0");
  if (!(options.seconds > 0)) refuse("--seconds", "more than 0", std::to_string(options.seconds));
  if (!(options.rate_pps >= 0) || !(options.warm_up_s >= 0))
    refuse("--rate and --warm-up", "0 or more", "less");
  for (const Address& address : options.from) {
    if (address.family != options.server.address.family)
      refuse("--from", "the server's family", address.to_string());
  }
  if (options.raw && (options.threads > 1 || options.security == Security::kDtls))
    refuse("--raw", "--transport tcp or tls, and one thread", "others");
  if (options.resume && options.security == Security::kTcp)
    refuse("--resume", "--transport tls or dtls", "tcp");
}

}  // namespace

std::variant<Options, Exit> read_options(int argc, const char* const* argv) {
  CLI::App app("turnpike-streamgen plays TURN clients that come by TCP, TLS or DTLS.",
               "turnpike-streamgen");
  Texts texts;
  Options options;
  declare(app, texts, options);
  try {
    app.parse(argc, argv);
    read_texts(texts, options);
    check(options);
  } catch (const CLI::CallForHelp&) {
    return Exit{0, app.help()};
  } catch (const std::exception& error) {
    return Exit{2, "turnpike-streamgen: " + std::string(error.what()) +
                       "\nturnpike-streamgen --help lists the flags\n"};
  }
  return options;
}

}  // namespace turnpike::streams
