// Flags to a tree of values, as a file has it. The one file that sees CLI11, which costs seconds to
// compile.
#include "config/command_line.h"

#include <CLI/CLI.hpp>
#include <cstring>

#include "config/value.h"

#ifndef TURNPIKE_VERSION
#error "the build gives the version"
#endif

namespace turnpike::config {
namespace {

constexpr int kUsage = 2;

struct Flags {
  std::string config_file;
  std::vector<std::string> ports, listeners, certificates, relays, external, users, rest_secrets,
      rest_secret_files, allow_peers, deny_peers;
  std::string realm, metrics, channel_numbers, log_level;
  std::int64_t workers = 0;
  std::int64_t user_quota = 0;
  bool check_config = false;
};

Origin of_flag(const std::string& flag) {
  return {"command line", 0, flag};
}

template <typename T>
Value make(const std::string& flag, T data) {
  Value value;
  value.data = std::move(data);
  value.origin = of_flag(flag);
  return value;
}

Value make_list(const std::string& flag, const std::vector<std::string>& texts) {
  Value::List list;
  for (const std::string& text : texts) {
    list.push_back(make(flag, text));
  }
  return make(flag, std::move(list));
}

// A table of `key` for each text; where a text has `separator`, what follows it is `second`.
Value make_tables(const std::string& flag, const std::vector<std::string>& texts,
                  const std::string& key, char separator = '\0', const std::string& second = "") {
  Value::List list;
  for (const std::string& text : texts) {
    Value::Table members;
    const std::size_t cut = separator == '\0' ? std::string::npos : text.find(separator);
    members.push_back({key, make(flag, text.substr(0, cut))});
    if (cut != std::string::npos) {
      members.push_back({second, make(flag, text.substr(cut + 1))});
    }
    list.push_back(make(flag, std::move(members)));
  }
  return make(flag, std::move(list));
}

void set(Value::Table& table, const std::string& key, Value value) {
  table.push_back({key, std::move(value)});
}

void set_table(Value::Table& table, const std::string& key, Value::Table members) {
  if (!members.empty()) {
    Value value;
    value.data = std::move(members);
    value.origin = of_flag("");
    set(table, key, std::move(value));
  }
}

Value::Table auth_of(const Flags& flags, std::vector<ConfigError>& errors) {
  Value::Table auth;
  for (const std::string& user : flags.users) {
    // Said here, since what is wrong may be a secret.
    if (user.find(':') == std::string::npos) {
      errors.push_back({"command line", 0, "--user", "expected NAME:PASSWORD, found no colon"});
    }
  }
  if (!flags.users.empty()) {
    set(auth, "users", make_tables("--user", flags.users, "name", ':', "password"));
  }
  if (!flags.rest_secrets.empty()) {
    set(auth, "rest_secrets", make_list("--rest-secret", flags.rest_secrets));
  }
  return auth;
}

// What the flags say, as a file would.
Value::Table tree_of(const Flags& flags, const CLI::App& app, std::vector<ConfigError>& errors) {
  Value::Table root;
  const auto text = [&app](Value::Table& table, const std::string& key, const std::string& flag,
                           const std::string& given) {
    if (app.count(flag) > 0) {
      set(table, key, make(flag, given));
    }
  };
  text(root, "realm", "--realm", flags.realm);
  text(root, "channel_numbers", "--channel-numbers", flags.channel_numbers);
  if (app.count("--workers") > 0) {
    set(root, "workers", make("--workers", flags.workers));
  }
  if (!flags.external.empty()) {
    set(root, "external", make_list("--external", flags.external));
  }
  if (!flags.ports.empty()) {
    set(root, "port", make_tables("--port", flags.ports, "device"));
  }
  if (!flags.listeners.empty()) {
    set(root, "listener", make_tables("--listen", flags.listeners, "address", '/', "transport"));
  }
  if (!flags.certificates.empty()) {
    set(root, "certificate", make_tables("--certificate", flags.certificates, "chain", ',', "key"));
  }
  if (!flags.relays.empty()) {
    set(root, "relay", make_tables("--relay", flags.relays, "address", '=', "external"));
  }
  set_table(root, "auth", auth_of(flags, errors));

  Value::Table limits, peers, metrics, log;
  if (app.count("--user-quota") > 0) {
    set(limits, "allocations_per_user", make("--user-quota", flags.user_quota));
  }
  if (!flags.allow_peers.empty()) {
    set(peers, "allow", make_list("--allow-peer", flags.allow_peers));
  }
  if (!flags.deny_peers.empty()) {
    set(peers, "deny", make_list("--deny-peer", flags.deny_peers));
  }
  if (flags.metrics == "off") {
    set(metrics, "enabled", make("--metrics", false));
  } else if (app.count("--metrics") > 0) {
    set(metrics, "enabled", make("--metrics", true));
    text(metrics, "address", "--metrics", flags.metrics);
  }
  text(log, "level", "--log-level", flags.log_level);
  set_table(root, "limits", std::move(limits));
  set_table(root, "peers", std::move(peers));
  set_table(root, "metrics", std::move(metrics));
  set_table(root, "log", std::move(log));
  return root;
}

void declare(CLI::App& app, Flags& flags) {
  // Each use of a flag takes one value: `--port A B` would otherwise eat what follows.
  const auto many = [&app](const std::string& name, std::vector<std::string>& into,
                           const std::string& meaning, const std::string& type) {
    app.add_option(name, into, meaning)->allow_extra_args(false)->type_name(type);
  };
  const auto one = [&app](const std::string& name, auto& into, const std::string& meaning,
                          const std::string& type) {
    app.add_option(name, into, meaning)->type_name(type);
  };
  one("--config", flags.config_file, "TOML file; flags win over it", "FILE");
  app.add_flag("--check-config", flags.check_config, "only say whether the configuration is right");
  many(
      "--port", flags.ports,
      "device to relay on: af_xdp:IFACE, af_packet:IFACE, tap:NAME, memif:SOCKET, or a PCI address",
      "DEVICE");
  many(
      "--listen", flags.listeners,
      "where clients come to, by udp (else), tcp, tls or auto (both); with one af_xdp or af_packet "
      "port: its addresses, port 3478",
      "ADDRESS:PORT[/TRANSPORT]");
  many("--certificate", flags.certificates, "PEM files of a chain and its key, for tls and auto",
       "CHAIN,KEY");
  many("--relay", flags.relays,
       "address to relay from, and how the world sees it; with one af_xdp or af_packet port: its "
       "addresses",
       "ADDRESS[=EXTERNAL]");
  many("--external", flags.external, "public address of a node behind a 1:1 NAT", "ADDRESS");
  one("--realm", flags.realm, "realm of the users", "REALM");
  many("--user", flags.users, "a user; visible in the process list: for trials", "NAME:PASSWORD");
  many("--rest-secret-file", flags.rest_secret_files,
       "file whose first line is the secret shared with the web server", "FILE");
  many("--rest-secret", flags.rest_secrets, "that secret itself; visible in the process list",
       "SECRET");
  many("--allow-peer", flags.allow_peers, "peers to allow though refused by default", "PREFIX");
  many("--deny-peer", flags.deny_peers, "peers to refuse", "PREFIX");
  one("--channel-numbers", flags.channel_numbers, "rfc8656 (to 0x4FFF) or rfc5766 (to 0x7FFF)",
      "RFC");
  one("--workers", flags.workers, "threads that poll", "N");
  one("--user-quota", flags.user_quota, "allocations that one user may have (32); 0: no limit",
      "N");
  one("--metrics", flags.metrics, "where metrics are served (127.0.0.1:9641), or off",
      "ADDRESS:PORT");
  one("--log-level", flags.log_level, "trace, debug, info, warning or error", "LEVEL");
}

Exit complain(const std::vector<ConfigError>& errors) {
  std::string text;
  for (const ConfigError& error : errors) {
    text += "turnpike: " + error.to_string() + "\n";
  }
  return {kUsage, text +
                      "turnpike --help lists the flags; every key of a file is explained in "
                      "deploy/turnpike.toml\n"};
}

Exit check(const Source& source) {
  ConfigResult result = source.read();
  if (const auto* errors = std::get_if<std::vector<ConfigError>>(&result)) {
    return complain(*errors);
  }
  std::string text;
  for (const std::string& warning : std::get<Config>(result).warnings)
    text += "warning: " + warning + "\n";
  return {0, text + "configuration OK\n"};
}

std::variant<Source, Exit> source_of(const Flags& flags, const CLI::App& app) {
  std::vector<ConfigError> errors;
  Source source(flags.config_file, tree_of(flags, app, errors), flags.rest_secret_files);
  if (!errors.empty()) {
    return complain(errors);
  }
  if (flags.check_config) {
    return check(source);
  }
  return source;
}

}  // namespace

std::variant<Source, Exit> parse_command_line(int argc, const char* const* argv) {
  Flags flags;
  CLI::App app(
      "Turnpike, a TURN and STUN relay.\n"
      "For example: turnpike --port af_xdp:eth0 --user alice:secret --realm example.org",
      "turnpike");
  app.set_version_flag("--version", "turnpike " TURNPIKE_VERSION);
  app.set_help_flag("--help", "say this");
  declare(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return Exit{0, app.help()};
  } catch (const CLI::CallForVersion& version) {
    return Exit{0, std::string(version.what()) + "\n"};
  } catch (const CLI::ParseError& error) {
    return Exit{kUsage, "turnpike: " + std::string(error.what()) +
                            "\nturnpike --help lists the flags; for example: turnpike --port "
                            "af_xdp:eth0 --user alice:secret --realm example.org\n"};
  }
  if (argc <= 1) {
    return Exit{kUsage,
                "turnpike: expected a configuration: turnpike --config /etc/turnpike.toml, or "
                "turnpike --port af_xdp:eth0 --user alice:secret --realm example.org\n"
                "turnpike --help lists the flags\n"};
  }
  return source_of(flags, app);
}

std::variant<Config, Exit> read_command_line(int argc, const char* const* argv) {
  auto asked = parse_command_line(argc, argv);
  if (auto* exit = std::get_if<Exit>(&asked)) {
    return std::move(*exit);
  }
  ConfigResult result = std::get<Source>(asked).read();
  if (const auto* errors = std::get_if<std::vector<ConfigError>>(&result)) {
    return complain(*errors);
  }
  return std::get<Config>(std::move(result));
}

void hide_secrets(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    for (const std::string_view flag : {"--user", "--rest-secret"}) {
      char* value = nullptr;
      const std::string_view word = argv[i];
      if (word == flag && i + 1 < argc) value = argv[i + 1];
      if (word.starts_with(std::string(flag) + "=")) value = argv[i] + flag.size() + 1;
      if (value == nullptr) continue;
      // A user's name stays to be seen.
      char* colon = flag == "--user" ? std::strchr(value, ':') : nullptr;
      char* secret = colon != nullptr ? colon + 1 : value;
      std::memset(secret, '*', std::strlen(secret));
    }
  }
}

}  // namespace turnpike::config
