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

// All that has a default.
inline Config defaults_of(Config config) {
  config.ports.clear();
  config.realm.clear();
  config.auth.users.clear();
  config.relayed.clear();
  return config;
}

}  // namespace turnpike::config::test
