// From a tree of values to a Config: which keys there are, what each takes, and what to say of one
// that is wrong. Values are judged alone here; what they say about each other is
// check.cpp's.
#include "config/config.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <tuple>

#include "base/qsbr.h"
#include "config/value.h"
#include "turnpike/integrity.h"

namespace turnpike::config {
namespace {

class Reader;
// Takes in one value, whose path is given.
using Take = std::function<void(Reader&, const Value&, const std::string& path)>;

struct Field {
  std::string_view name;
  Take take;
};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// A found value is shown as far as it helps.
std::string shortened(std::string_view text) {
  constexpr std::size_t kMax = 80;
  return text.size() > kMax ? std::string(text.substr(0, kMax)) + "…" : std::string(text);
}

std::string describe(const Value& value) {
  struct Words {
    std::string operator()(Value::Other) const { return "a date or time"; }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(std::int64_t n) const { return std::to_string(n); }
    std::string operator()(double d) const { return std::to_string(d); }
    std::string operator()(const std::string& s) const { return '"' + shortened(s) + '"'; }
    std::string operator()(const Value::List&) const { return "a list"; }
    std::string operator()(const Value::Table&) const { return "a table"; }
  };
  return std::visit(Words{}, value.data);
}

// No more than the kind of what may be, or hold, a secret.
std::string describe_kind(const Value& value) {
  if (const auto* text = value.as<std::string>()) {
    return text->empty() ? "an empty string" : "a string";
  }
  return value.as<std::int64_t>() || value.as<double>() ? "a number" : describe(value);
}

class Reader {
 public:
  explicit Reader(Origin root) : origins_(std::move(root)) {}

  void refuse(const std::string& path, std::string problem) {
    errors_.push_back(origins_.error(path, std::move(problem)));
  }
  void refuse(const std::string& path, std::string_view expected, const std::string& found) {
    refuse(path, "expected " + std::string(expected) + ", found " + found);
  }

  void note(const std::string& path, const Value& value) { origins_.add(path, value.origin); }
  void note(const std::string& path, Origin origin) { origins_.add(path, std::move(origin)); }

  // Reads each member by the field of its name. `path` is empty for the root.
  void read_table(const Value& value, const std::string& path, std::span<const Field> fields) {
    const auto* table = value.as<Value::Table>();
    if (table == nullptr) {
      refuse(path, "a table", describe_kind(value));
      return;
    }
    for (const Member& member : *table) {
      const std::string below = path.empty() ? member.key : path + "." + member.key;
      note(below, member.value);
      const auto field = std::find_if(fields.begin(), fields.end(), [&member](const Field& known) {
        return known.name == member.key;
      });
      if (field == fields.end()) {
        refuse_unknown(shortened(below), member, fields);
      } else {
        field->take(*this, member.value, below);
      }
    }
  }

  const Origins& origins() const { return origins_; }
  std::vector<ConfigError>& errors() { return errors_; }

 private:
  void refuse_unknown(const std::string& path, const Member& member,
                      std::span<const Field> fields) {
    std::string known;
    std::string_view nearest;
    std::size_t best =
        std::max<std::size_t>(2, std::min<std::size_t>(member.key.size(), 40) / 3) + 1;
    for (const Field& field : fields) {
      known += (known.empty() ? "" : ", ") + std::string(field.name);
      const std::size_t distance =
          edit_distance(std::string_view(member.key).substr(0, 40), field.name);
      if (distance < best) {
        best = distance;
        nearest = field.name;
      }
    }
    ConfigError error = origins_.error(path, "");
    error.line = member.value.origin.line;
    error.problem = nearest.empty()
                        ? "no such key; expected one of: " + known
                        : "no such key; expected perhaps \"" + std::string(nearest) + "\"";
    errors_.push_back(std::move(error));
  }

  Origins origins_;
  std::vector<ConfigError> errors_;
};

// --- What a single value can be.

Take boolean(bool& out) {
  return [&out](Reader& reader, const Value& value, const std::string& path) {
    if (const bool* found = value.as<bool>()) {
      out = *found;
    } else {
      reader.refuse(path, "true or false", describe(value));
    }
  };
}

// An integer from `min` to `max`, or `besides`, which has a meaning of its own.
template <typename T>
Take integer(T& out, std::int64_t min, std::int64_t max,
             std::optional<std::int64_t> besides = std::nullopt) {
  return [&out, min, max, besides](Reader& reader, const Value& value, const std::string& path) {
    const auto* found = value.as<std::int64_t>();
    if (found != nullptr && ((*found >= min && *found <= max) || *found == besides)) {
      out = static_cast<T>(*found);
      return;
    }
    const std::string range =
        "an integer from " + std::to_string(min) + " to " + std::to_string(max);
    reader.refuse(path, besides ? std::to_string(*besides) + " or " + range : range,
                  describe(value));
  };
}

// A string that `parse` turns into an optional of what `out` holds.
template <typename T, typename Parse>
Take parsed(T& out, Parse parse, std::string_view expected) {
  return [&out, parse, expected](Reader& reader, const Value& value, const std::string& path) {
    const auto* found = value.as<std::string>();
    if (found != nullptr) {
      if (auto result = parse(*found)) {
        out = std::move(*result);
        return;
      }
    }
    reader.refuse(path, expected, describe(value));
  };
}

// Likewise, of a value that must not be shown.
template <typename Parse>
Take secret(std::string& out, Parse parse, std::string_view expected) {
  return [&out, parse, expected](Reader& reader, const Value& value, const std::string& path) {
    const auto* found = value.as<std::string>();
    if (found != nullptr) {
      if (auto result = parse(*found)) {
        out = std::move(*result);
        return;
      }
    }
    const std::string kind = describe_kind(value);
    reader.refuse(path, expected, kind == "a string" ? "another (a secret, not shown)" : kind);
  };
}

// A list; `item` says how to take one in, given the new place at the end of `out` for it.
template <typename T, typename Item>
Take list(std::vector<T>& out, Item item, std::string_view expected) {
  return [&out, item, expected](Reader& reader, const Value& value, const std::string& path) {
    const auto* values = value.as<Value::List>();
    if (values == nullptr) {
      reader.refuse(path, expected, describe_kind(value));
      return;
    }
    for (std::size_t i = 0; i < values->size(); ++i) {
      const std::string below = path + "[" + std::to_string(i) + "]";
      reader.note(below, (*values)[i]);
      item(out.emplace_back())(reader, (*values)[i], below);
    }
  };
}

Take prefixes(std::vector<Prefix>& out) {
  return list(
      out,
      [](Prefix& prefix) {
        return parsed(prefix, Prefix::parse,
                      "an address or prefix such as 192.0.2.0/24, without bits beyond its length");
      },
      "a list of prefixes, [\"192.0.2.0/24\"]");
}

Take table(std::function<void(Reader&, const Value&, const std::string&)> read) {
  return read;
}

// --- What strings can say.

constexpr std::string_view kDeviceExpected =
    "af_xdp:INTERFACE, af_packet:INTERFACE, tap:NAME, memif:SOCKET or a PCI address such as "
    "0000:01:00.0";

// As Linux takes it, less what DPDK's device arguments would read as their own.
bool is_interface_name(std::string_view name) {
  return !name.empty() && name.size() <= 15 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return c > 0x20 && c < 0x7F && c != '/' && c != ':' && c != ',' && c != '=';
         });
}

bool is_socket_path(std::string_view path) {
  return !path.empty() && path.size() <= 107 && std::all_of(path.begin(), path.end(), [](char c) {
    return c > 0x20 && c < 0x7F && c != ',' && c != '=';
  });
}

// "01:00.0" or with a domain before, "0000:01:00.0", which is what is returned.
std::optional<std::string> parse_pci(std::string_view text) {
  std::string whole = text.size() == 7 ? "0000:" + std::string(text) : std::string(text);
  constexpr std::string_view kShape = "xxxx:xx:xx.7";
  if (whole.size() != kShape.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const bool hex = std::string_view("0123456789abcdefABCDEF").find(whole[i]) != std::string::npos;
    const bool fits = kShape[i] == 'x'   ? hex
                      : kShape[i] == '7' ? whole[i] >= '0' && whole[i] <= '7'
                                         : whole[i] == kShape[i];
    if (!fits) {
      return std::nullopt;
    }
    // DPDK's names are in lower case.
    if (whole[i] >= 'A' && whole[i] <= 'F') {
      whole[i] = static_cast<char>(whole[i] - 'A' + 'a');
    }
  }
  return whole;
}

// Pairs of key and value; neither a word nor a device of its own for DPDK's command line.
std::optional<std::string> parse_devargs(std::string_view text) {
  const bool fits = std::all_of(text.begin(), text.end(),
                                [](char c) { return c > 0x20 && c < 0x7F && c != '"'; });
  if (!fits || text.starts_with(',') || text.ends_with(',')) {
    return std::nullopt;
  }
  return std::string(text);
}

struct Device {
  PortDriver driver = PortDriver::kAfXdp;
  std::string name;
};

std::optional<Device> parse_device(std::string_view text) {
  if (auto pci = parse_pci(text)) {
    return Device{PortDriver::kPci, *pci};
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view driver = text.substr(0, colon);
  const std::string name(text.substr(colon + 1));
  if (driver == "memif") {
    return is_socket_path(name) ? std::optional(Device{PortDriver::kMemif, name}) : std::nullopt;
  }
  if (!is_interface_name(name)) {
    return std::nullopt;
  }
  if (driver == "af_xdp") {
    return Device{PortDriver::kAfXdp, name};
  }
  if (driver == "af_packet") {
    return Device{PortDriver::kAfPacket, name};
  }
  return driver == "tap" ? std::optional(Device{PortDriver::kTap, name}) : std::nullopt;
}

// Each hexadecimal pair, with `separator` between; nullopt unless there are exactly N.
template <std::size_t N>
std::optional<std::array<std::uint8_t, N>> parse_hex(std::string_view text,
                                                     std::string_view separator) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<std::uint8_t, N> bytes;
  const std::size_t stride = 2 + separator.size();
  if (text.size() != N * stride - separator.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < N; ++i) {
    const std::size_t at = i * stride;
    const auto digit = [&](std::size_t index) {
      const char c = text[index];
      return kDigits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
    };
    const std::size_t high = digit(at), low = digit(at + 1);
    const bool separated = i + 1 == N || text.substr(at + 2, separator.size()) == separator;
    if (high == std::string_view::npos || low == std::string_view::npos || !separated) {
      return std::nullopt;
    }
    bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return bytes;
}

using NextHopMac = std::optional<std::array<std::uint8_t, 6>>;

// Empty: none. A group address can't be a next hop.
std::optional<NextHopMac> parse_next_hop(std::string_view text) {
  if (text.empty()) {
    return NextHopMac();
  }
  const NextHopMac mac = parse_hex<6>(text, ":");
  if (!mac || ((*mac)[0] & 1) != 0) {
    return std::nullopt;
  }
  return std::optional<NextHopMac>(std::in_place, mac);
}

std::optional<InterfaceAddress> parse_interface_address(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    return std::nullopt;
  }
  const auto address = Address::parse(text.substr(0, slash));
  // The length is read as that of the all-zero block, which has no bits beyond any length.
  const std::string zero = address && address->family == Family::kIpv4 ? "0.0.0.0" : "::";
  const auto block = Prefix::parse(zero + std::string(text.substr(slash)));
  if (!address || address->is_unspecified() || !block || block->length == 0) {
    return std::nullopt;
  }
  return InterfaceAddress{*address, block->length};
}

bool is_unicast(const Address& address) {
  const bool multicast =
      address.family == Family::kIpv4 ? address.bytes[0] >= 224 : address.bytes[0] == 0xFF;
  return !multicast && !address.is_unspecified();
}

std::optional<Endpoint> parse_server(std::string_view text) {
  const auto endpoint = Endpoint::parse(text);
  return endpoint && endpoint->port != 0 && is_unicast(endpoint->address) ? endpoint : std::nullopt;
}

std::optional<Endpoint> parse_metrics(std::string_view text) {
  const auto endpoint = Endpoint::parse(text);
  return endpoint && endpoint->port != 0 ? endpoint : std::nullopt;
}

std::optional<Address> parse_unicast(std::string_view text) {
  const auto address = Address::parse(text);
  return address && is_unicast(*address) ? address : std::nullopt;
}

// A relayed address costs its port tables: a prefix gives at most this many.
constexpr unsigned kPrefixBitsMax = 8;

// An address, or each one of a prefix.
std::optional<std::vector<Address>> parse_addresses(std::string_view text) {
  const auto prefix = Prefix::parse(text);
  if (!prefix || !is_unicast(prefix->address)) {
    return std::nullopt;
  }
  const std::size_t size = prefix->address.size();
  const unsigned free_bits = static_cast<unsigned>(size * 8) - prefix->length;
  if (free_bits > kPrefixBitsMax) {
    return std::nullopt;
  }
  std::vector<Address> addresses(std::size_t{1} << free_bits, prefix->address);
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    // At most eight bits are free: all are in the last byte.
    addresses[i].bytes[size - 1] |= static_cast<std::uint8_t>(i);
  }
  return addresses;
}

// RFC 6052 §2.2.
std::optional<Prefix> parse_nat64(std::string_view text) {
  const auto prefix = Prefix::parse(text);
  const bool fits = prefix && prefix->address.family == Family::kIpv6 && prefix->length >= 32 &&
                    prefix->length <= 96 && prefix->length % 8 == 0 && prefix->length != 72 &&
                    prefix->length != 80 && prefix->length != 88;
  return fits ? prefix : std::nullopt;
}

std::optional<std::string> parse_exception(std::string_view text) {
  const bool fits = text.empty() || is_interface_name(text);
  return fits ? std::optional(std::string(text)) : std::nullopt;
}

// RFC 8489 §14.3, §14.9, §14.14: fewer than 128 characters, in at most 763 bytes; a username at
// most 508 bytes. Characters are counted as bytes that don't continue one.
std::optional<std::string> parse_prepared(std::string_view text, std::size_t bytes_max,
                                          std::size_t characters_max) {
  const auto characters = std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  });
  const bool fits = text.size() <= bytes_max &&
                    static_cast<std::size_t>(characters) <= characters_max &&
                    stun::opaque_string(text).has_value();
  return fits ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<std::string> parse_realm(std::string_view text) {
  // It travels as the inside of a quoted string (§14.9): quotes would need escapes in it.
  const bool plain = text.find_first_of("\"\\") == std::string_view::npos;
  // Sent, compared and hashed into keys as prepared, all three alike (§14.9).
  return plain && parse_prepared(text, 763, 127) ? stun::opaque_string(text) : std::nullopt;
}

std::optional<std::string> parse_software(std::string_view text) {
  return text.empty() ? std::optional(std::string()) : parse_prepared(text, 763, 127);
}

std::optional<std::string> parse_username(std::string_view text) {
  return parse_prepared(text, 508, 508);
}

std::optional<std::string> parse_password(std::string_view text) {
  return parse_prepared(text, 763, 763);
}

std::optional<std::string> parse_md5_key(std::string_view text) {
  return parse_hex<16>(text, "") ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<std::string> parse_rest_secret(std::string_view text) {
  return text.empty() ? std::nullopt : std::optional(std::string(text));
}

std::optional<RestFormat> parse_rest_format(std::string_view text) {
  if (text == "time:user") {
    return RestFormat::kTimeUser;
  }
  return text == "user:time" ? std::optional(RestFormat::kUserTime) : std::nullopt;
}

std::optional<bool> parse_channel_numbers(std::string_view text) {
  if (text == "rfc8656") {
    return false;
  }
  return text == "rfc5766" ? std::optional(true) : std::nullopt;
}

// Whether there is such a user is the host's to say, at the start.
std::optional<std::string> parse_user(std::string_view text) {
  const bool plain = text.size() <= 32 && text.find_first_of(": \t\n/") == std::string_view::npos;
  return plain ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<bool> parse_ttl(std::string_view text) {
  if (text == "decrement") {
    return false;
  }
  return text == "reset" ? std::optional(true) : std::nullopt;
}

std::optional<std::string> parse_log_level(std::string_view text) {
  for (const std::string_view level : {"trace", "debug", "info", "warning", "error"}) {
    if (text == level) {
      return std::string(text);
    }
  }
  return std::nullopt;
}

// --- The tables.

bool has(const Value& value, std::string_view key) {
  const auto* members = value.as<Value::Table>();
  return members != nullptr && find_member(*members, key) != nullptr;
}

Take read_port(PortConfig& port) {
  return table([&port](Reader& reader, const Value& value, const std::string& path) {
    Device device;
    const Field fields[] = {
        {"device", parsed(device, parse_device, kDeviceExpected)},
        {"queues", integer(port.queues, 0, 64)},
        {"mtu", integer(port.mtu, 1280, 9600, 0)},
        {"addresses", list(
                          port.addresses,
                          [](InterfaceAddress& address) {
                            return parsed(
                                address, parse_interface_address,
                                "an address with its network's length, such as 192.0.2.10/24");
                          },
                          "a list of addresses, [\"192.0.2.10/24\"]")},
        {"gateway", list(
                        port.gateways,
                        [](Address& address) {
                          return parsed(address, parse_unicast,
                                        "a unicast address, such as 192.0.2.1 or fe80::1");
                        },
                        "a list of addresses, [\"192.0.2.1\"]")},
        {"descriptors", integer(port.descriptors, 64, 8192, 0)},
        {"devargs", parsed(port.devargs, parse_devargs,
                           "what DPDK's driver takes, such as \"mprq_en=1,rxq_cqe_comp_en=0\"")},
        {"next_hop", parsed(port.static_next_hop, parse_next_hop,
                            "a unicast MAC such as 02:00:00:00:00:01, or \"\"")},
        {"exception",
         parsed(port.exception_name, parse_exception,
                "the name of an interface to make (at most 15 characters), \"none\" or \"\"")},
        {"memif_server", boolean(port.memif_server)},
        {"memif_zero_copy", boolean(port.memif_zero_copy)},
    };
    reader.read_table(value, path, fields);
    port.driver = device.driver;
    port.device = device.name;
    if (value.as<Value::Table>() && !has(value, "device")) {
      reader.refuse(path + ".device", kDeviceExpected, "nothing");
    }
  });
}

constexpr std::string_view kServerExpected =
    "a unicast address and a port from 1 to 65535, such as 192.0.2.1:3478 or "
    "[2001:db8::1]:3478";

Take read_listener(ListenerConfig& listener) {
  return table([&listener](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"address", parsed(listener.endpoint, parse_server, kServerExpected)},
        {"stun_only", boolean(listener.stun_only)},
        {"turn_only", boolean(listener.turn_only)},
        {"anycast", boolean(listener.anycast)},
        {"alternates",
         list(
             listener.alternates,
             [](Endpoint& endpoint) { return parsed(endpoint, parse_server, kServerExpected); },
             "a list of addresses with ports, [\"192.0.2.2:3478\"]")},
    };
    reader.read_table(value, path, fields);
    if (value.as<Value::Table>() && !has(value, "address")) {
      reader.refuse(path + ".address", kServerExpected, "nothing");
    }
  });
}

// One [[relay]], which may give several addresses.
struct RelayTable {
  std::vector<Address> addresses, external;
};

Take read_relay(RelayTable& relay) {
  return table([&relay](Reader& reader, const Value& value, const std::string& path) {
    constexpr std::string_view kExpected =
        "a unicast address such as 192.0.2.1, or a prefix of at most 256 of them, 192.0.2.0/24";
    const Field fields[] = {
        {"address", parsed(relay.addresses, parse_addresses, kExpected)},
        {"external", parsed(relay.external, parse_addresses, kExpected)},
    };
    reader.read_table(value, path, fields);
    if (value.as<Value::Table>() && !has(value, "address")) {
      reader.refuse(path + ".address", kExpected, "nothing");
    }
    if (!relay.addresses.empty() && !relay.external.empty() &&
        (relay.addresses.size() != relay.external.size() ||
         relay.addresses[0].family != relay.external[0].family)) {
      reader.refuse(
          path + ".external", "as many addresses as \"address\" gives, of its family",
          std::to_string(relay.external.size()) + " from " + relay.external[0].to_string());
    }
  });
}

// The addresses one by one, each with the place of its table.
Take read_relays(std::vector<RelayedAddress>& relayed) {
  return [&relayed](Reader& reader, const Value& value, const std::string& path) {
    std::vector<RelayTable> tables;
    list(tables, read_relay, "[[relay]] tables")(reader, value, path);
    for (std::size_t i = 0; i < tables.size(); ++i) {
      const RelayTable& relay = tables[i];
      const std::string key = path + "[" + std::to_string(i) + "]";
      const ConfigError place = reader.origins().error(key + ".address", "");
      for (std::size_t k = 0; k < relay.addresses.size(); ++k) {
        reader.note("relayed[" + std::to_string(relayed.size()) + "]",
                    Origin{place.file, place.line, place.key});
        RelayedAddress& address = relayed.emplace_back();
        address.internal = relay.addresses[k];
        if (relay.external.size() == relay.addresses.size()) {
          address.external = relay.external[k];
        }
      }
    }
  };
}

Take read_user(UserConfig& user) {
  return table([&user](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"name", parsed(user.username, parse_username,
                        "a username of 1 to 508 bytes, without control characters")},
        {"password", secret(user.password, parse_password,
                            "a password of 1 to 763 bytes, without control characters")},
        {"md5_key", secret(user.md5_key_hex, parse_md5_key,
                           "32 hexadecimal digits: MD5 of username:realm:password")},
    };
    reader.read_table(value, path, fields);
    if (!value.as<Value::Table>()) {
      return;
    }
    if (!has(value, "name")) {
      reader.refuse(path + ".name", "a username", "nothing");
    }
    if (has(value, "password") == has(value, "md5_key")) {
      reader.refuse(path + ".password", "either a password or an md5_key",
                    has(value, "password") ? "both" : "neither");
    }
  });
}

Take read_auth(Config& config) {
  return table([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"users", list(config.users, read_user,
                       "a list of users, [{ name = \"alice\", password = \"…\" }]")},
        {"rest_secrets",
         list(
             config.rest_secrets,
             [](std::string& out) { return secret(out, parse_rest_secret, "a shared secret"); },
             "a list of shared secrets")},
        {"rest_format",
         parsed(config.rest_format, parse_rest_format, "\"time:user\" or \"user:time\"")},
        {"strict_expiry", boolean(config.strict_expiry)},
        {"nonce_lifetime_s", integer(config.nonce_lifetime_s, 1, 3600)},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_peers(Config& config) {
  return table([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"allow", prefixes(config.allow_peers)},
        {"deny", prefixes(config.deny_peers)},
        {"nat64_prefixes",
         list(
             config.nat64_prefixes,
             [](Prefix& prefix) {
               return parsed(prefix, parse_nat64,
                             "an IPv6 prefix of length 32, 40, 48, 56, 64 or 96 (RFC 6052)");
             },
             "a list of NAT64 prefixes")},
    };
    reader.read_table(value, path, fields);
    // The analyser loses sight of std::function's destructor.
    // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks)
  });
}

Take read_limits(Config& config) {
  return table([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"allocations", integer(config.max_allocations, 1, 1'000'000)},
        {"permissions_per_allocation", integer(config.max_permissions_per_allocation, 1, 4096)},
        {"channels_per_allocation", integer(config.max_channels_per_allocation, 1, 4096)},
        {"permissions_average", integer(config.permissions_average, 1, 4096)},
        {"channels_average", integer(config.channels_average, 1, 4096)},
        {"allocations_per_user", integer(config.user_quota, 0, 1'000'000)},
        {"requests_per_allocation_per_second",
         integer(config.requests_per_allocation, 0, 1'000'000)},
        {"requests_per_allocation_burst",
         integer(config.requests_per_allocation_burst, 1, 1'000'000)},
        {"requests_per_source_per_second", integer(config.requests_per_source, 0, 1'000'000)},
        {"requests_per_source_burst", integer(config.requests_per_source_burst, 1, 1'000'000)},
        {"challenges_per_source_per_second", integer(config.challenges_per_source, 0, 1'000'000)},
        {"challenges_per_source_burst", integer(config.challenges_per_source_burst, 1, 1'000'000)},
        {"challenges_per_second", integer(config.challenges, 0, 100'000'000)},
        {"lifetime_min_s", integer(config.lifetime_min_s, 1, 86400)},
        {"lifetime_max_s", integer(config.lifetime_max_s, 1, 86400)},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_relay_ports(Config& config) {
  return table([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"min", integer(config.relay_port_min, 1024, 65534)},
        {"max", integer(config.relay_port_max, 1025, 65535)},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_metrics(Config& config) {
  return table([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"address", parsed(config.metrics, parse_metrics,
                           "an address and a port from 1 to 65535, such as 127.0.0.1:9641")},
        {"enabled", boolean(config.metrics_enabled)},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_log(Config& config) {
  return table([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"level", parsed(config.log_level, parse_log_level,
                         "\"trace\", \"debug\", \"info\", \"warning\" or \"error\"")},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_test(Config& config) {
  return table([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {{"time_scale", integer(config.test_time_scale, 1, 100'000)}};
    reader.read_table(value, path, fields);
  });
}

Take read_root(Config& config) {
  return table([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"realm", parsed(config.realm, parse_realm,
                         "a realm of 1 to 127 characters, without quotes, backslashes or control "
                         "characters")},
        {"software", parsed(config.software, parse_software, "at most 127 characters")},
        {"classic_stun", boolean(config.classic_stun)},
        {"channel_numbers",
         parsed(config.rfc5766_channels, parse_channel_numbers, "\"rfc8656\" or \"rfc5766\"")},
        {"ttl", parsed(config.resets_ttl, parse_ttl, "\"decrement\" or \"reset\"")},
        {"translated_mtu", integer(config.translated_mtu, 1280, 9600)},
        {"workers", integer(config.workers, 1, static_cast<std::int64_t>(Qsbr::kMaxReaders))},
        {"shards", integer(config.shards, 1, 64)},
        {"worker_cores", list(
                             config.worker_cores, [](int& core) { return integer(core, 0, 1023); },
                             "a list of CPU numbers, [0, 1]")},
        {"hugepages", boolean(config.hugepages)},
        {"user", parsed(config.user, parse_user, "a user of this host, or \"\"")},
        {"core_dumps", boolean(config.core_dumps)},
        {"idle_sleep_us", integer(config.idle_sleep_us, 0, 100'000)},
        {"external", list(
                         config.external,
                         [](Address& address) {
                           return parsed(address, parse_unicast,
                                         "a unicast address, such as 192.0.2.1 or 2001:db8::1");
                         },
                         "a list of addresses, [\"192.0.2.1\"]")},
        {"port", list(config.ports, read_port, "[[port]] tables")},
        {"listener", list(config.listeners, read_listener, "[[listener]] tables")},
        {"relay", read_relays(config.relayed)},
        {"relay_ports", read_relay_ports(config)},
        {"auth", read_auth(config)},
        {"peers", read_peers(config)},
        {"limits", read_limits(config)},
        {"metrics", read_metrics(config)},
        {"log", read_log(config)},
        {"test", read_test(config)},
    };
    reader.read_table(value, path, fields);
  });
}

}  // namespace

std::string ConfigError::to_string() const {
  std::string out = file;
  if (line > 0) {
    out += ":" + std::to_string(line);
  }
  out += (key.empty() ? "" : ": " + key) + ": " + problem;
  // Whatever a file holds, none of it may steer the operator's terminal.
  std::replace_if(
      out.begin(), out.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, '?');
  return out;
}

bool Config::turn_enabled() const {
  return listeners.empty() || std::any_of(listeners.begin(), listeners.end(),
                                          [](const ListenerConfig& l) { return !l.stun_only; });
}

void forget_secrets(Config& config) {
  const auto forget = [](std::string& secret) {
    explicit_bzero(secret.data(), secret.size());
    secret.clear();
  };
  for (UserConfig& user : config.users) {
    forget(user.password);
    forget(user.md5_key_hex);
  }
  std::for_each(config.rest_secrets.begin(), config.rest_secrets.end(), forget);
  config.rest_secrets.clear();
}

ConfigResult read_config(const Value& tree) {
  Config config;
  Reader reader(tree.origin);
  read_root(config)(reader, tree, "");
  // Relations between values that are themselves wrong would only add noise.
  std::vector<ConfigError> errors = std::move(reader.errors());
  if (errors.empty()) {
    errors = check_relations(config, reader.origins());
  }
  if (errors.empty()) {
    return config;
  }
  std::stable_sort(errors.begin(), errors.end(), [](const ConfigError& a, const ConfigError& b) {
    return std::tie(a.file, a.line) < std::tie(b.file, b.line);
  });
  return errors;
}

ConfigResult parse_config(std::string_view text, const std::string& name) {
  auto tree = read_toml(text, name);
  if (auto* errors = std::get_if<std::vector<ConfigError>>(&tree)) {
    return std::move(*errors);
  }
  return read_config(std::get<Value>(tree));
}

ConfigResult load_config(const std::string& path) {
  auto tree = read_toml_file(path);
  if (auto* errors = std::get_if<std::vector<ConfigError>>(&tree)) {
    return std::move(*errors);
  }
  return read_config(std::get<Value>(tree));
}

}  // namespace turnpike::config
