// Configurations as texts: what enough of one is, and what comes of reading it.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include "config/config.h"

namespace turnpike::config::test {

// Three lines that are enough; what a test adds begins on the fourth.
inline const std::string kEnough =
    "realm = \"example.org\"\n"
    "port = [{ device = \"af_xdp:eth0\" }]\n"
    "auth.users = [{ name = \"alice\", password = \"secret\" }]\n";

// An owned port with users, a listener and a relayed address; what is given goes into [[port]].
inline std::string owned(const std::string& keys) {
  return "realm = \"r\"\nauth.rest_secrets = [\"s\"]\n[[listener]]\naddress = "
         "\"192.0.2.10:3478\"\n[[relay]]\naddress = \"192.0.2.10\"\n[[port]]\ndevice = "
         "\"01:00.0\"\n" +
         keys;
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline Config accepted(const std::string& text) {
  ConfigResult result = parse_config(text, "test.toml");
  if (const auto* errors = std::get_if<std::vector<ConfigError>>(&result)) {
    for (const ConfigError& error : *errors) {
      ADD_FAILURE() << error.to_string();
    }
    return {};
  }
  return std::get<Config>(result);
}

inline std::vector<ConfigError> refused(const std::string& text) {
  ConfigResult result = parse_config(text, "test.toml");
  if (const auto* errors = std::get_if<std::vector<ConfigError>>(&result)) {
    return *errors;
  }
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Every key that there is: the file's own, then those of its tables, "limits.allocations".
inline std::vector<std::string> every_key() {
  // An unknown key far from any other is answered with all that there are.
  const std::string unknown = "zzzzzzzzzzzzzzzz = 1\n", mark = "expected one of: ";
  std::vector<std::string> keys;
  for (const std::string table : {"",
                                  "[[port]]",
                                  "[[listener]]",
                                  "[[relay]]",
                                  "[streams]",
                                  "[tcp_relay]",
                                  "[[certificate]]",
                                  "[own_host]",
                                  "[nat_discovery]",
                                  "[relay_ports]",
                                  "[auth]",
                                  "[[auth.users]]",
                                  "[[other_realm]]",
                                  "[[other_realm]]\n[[other_realm.users]]",
                                  "[[other_realm]]\n[other_realm.peers]",
                                  "[peers]",
                                  "[clients]",
                                  "[limits]",
                                  "[payload]",
                                  "[[payload.rule]]",
                                  "[identity]",
                                  "[[identity.rule]]",
                                  "[[identity.class]]",
                                  "[metrics]",
                                  "[log]",
                                  "[test]"}) {
    const std::string name = table.substr(table.find_last_of('[') + 1);
    const std::string prefix = name.empty() ? "" : name.substr(0, name.find(']')) + ".";
    for (const ConfigError& error : refused(table + "\n" + unknown)) {
      const std::size_t at = error.problem.find(mark);
      if (at == std::string::npos) continue;
      std::stringstream known(error.problem.substr(at + mark.size()));
      for (std::string key; std::getline(known, key, ',');)
        keys.push_back(prefix + key.substr(key.find_first_not_of(' ')));
    }
  }
  return keys;
}

// All that has a default.
inline Config defaults_of(Config config) {
  config.ports.clear();
  config.realm.clear();
  config.auth.users.clear();
  config.relayed.clear();
  return config;
}

}  // namespace turnpike::config::test
