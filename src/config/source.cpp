// Reads the file, and the secrets in files of their own, and lays the flags over them.
#include "config/source.h"

#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <utility>

namespace turnpike::config {
namespace {

constexpr const char* kSecretFileFlag = "--rest-secret-file";

// The first line of a file: editors end it with a newline, which is no part of the secret.
std::variant<std::string, ConfigError> read_secret(const std::string& path) {
  std::ifstream file(path);
  std::string secret;
  if (!file || !std::getline(file, secret)) {
    return ConfigError{"command line", 0, kSecretFileFlag,
                       "expected a readable file with the secret in its first line, found " + path};
  }
  if (!secret.empty() && secret.back() == '\r') {
    secret.pop_back();
  }
  if (secret.empty()) {
    return ConfigError{"command line", 0, kSecretFileFlag,
                       "expected a secret in the first line of " + path + ", found an empty line"};
  }
  return secret;
}

Value of_flag(const std::string& flag, decltype(Value::data) data) {
  return {std::move(data), {"command line", 0, flag}};
}

// The table, or list, of that name, which is made where there is none.
template <typename T>
T& within(Value::Table& table, const std::string& key, const std::string& flag) {
  auto found =
      std::find_if(table.begin(), table.end(), [&key](const Member& m) { return m.key == key; });
  if (found == table.end()) found = table.insert(found, {key, of_flag(flag, T())});
  return std::get<T>(found->value.data);
}

void add_secrets(Value::Table& flags, const std::vector<std::string>& files,
                 std::vector<ConfigError>& errors) {
  for (const std::string& path : files) {
    auto secret = read_secret(path);
    if (auto* error = std::get_if<ConfigError>(&secret)) {
      errors.push_back(std::move(*error));
      continue;
    }
    auto& auth = within<Value::Table>(flags, "auth", "");
    within<Value::List>(auth, "rest_secrets", kSecretFileFlag)
        .push_back(of_flag(kSecretFileFlag, std::get<std::string>(std::move(secret))));
  }
}

bool read_by_others(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && (status.st_mode & S_IROTH) != 0;
}

void wipe(Value& value) {
  if (auto* text = std::get_if<std::string>(&value.data)) {
    explicit_bzero(text->data(), text->size());
  } else if (auto* list = std::get_if<Value::List>(&value.data)) {
    for (Value& item : *list)
      wipe(item);
  } else if (auto* table = std::get_if<Value::Table>(&value.data)) {
    for (Member& member : *table)
      wipe(member.value);
  }
}

}  // namespace

Source::Source(std::string file, Value::Table flags, std::vector<std::string> secret_files)
    : file_(std::move(file)), flags_(std::move(flags)), secret_files_(std::move(secret_files)) {}

Source::~Source() {
  for (Member& member : flags_)
    wipe(member.value);
}

ConfigResult Source::read() const {
  Value tree = of_flag("", Value::Table());
  if (!file_.empty()) {
    auto file = read_toml_file(file_);
    if (auto* errors = std::get_if<std::vector<ConfigError>>(&file)) {
      return std::move(*errors);
    }
    tree = std::get<Value>(std::move(file));
  }
  auto& root = std::get<Value::Table>(tree.data);
  const bool secrets_in_file =
      find_member(root, "auth") != nullptr || find_member(root, "other_realm") != nullptr;
  Value::Table flags = flags_;
  std::vector<ConfigError> errors;
  add_secrets(flags, secret_files_, errors);
  if (!errors.empty()) {
    return errors;
  }
  lay_over(root, std::move(flags));
  ConfigResult result = read_config(tree);
  if (auto* config = std::get_if<Config>(&result);
      config != nullptr && secrets_in_file && read_by_others(file_)) {
    config->warnings.push_back(file_ +
                               " holds secrets and everybody on this host can read it; chmod 640");
  }
  return result;
}

}  // namespace turnpike::config
