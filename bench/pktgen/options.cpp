// The command line. The one file here that sees CLI11, which costs seconds to compile.
#include "options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <fstream>
#include <stdexcept>

namespace turnpike::pktgen {
namespace {

constexpr std::uint16_t kLeastPayload = 20;  // what carries sequence and time
constexpr std::uint16_t kMostPayload = 1400;

struct Texts {
  std::string mode = "rate", family = "4", peer_family, directions = "both", payload = "160",
              attack = "none", slices;
  std::string device, mac, gateway_mac, peer_device, peer_mac, peer_gateway_mac;
  std::vector<std::string> servers, clients, peers, attackers, addresses, gateways, peer_addresses,
      peer_gateways;
  double ceiling_mpps = 0;
  bool no_hugepages = false, no_release = false, no_ceiling = false, self_check = false;
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

Families families_of(const std::string& flag, const std::string& text) {
  return choose<Families>(
      flag, text, {{"4", Families::kIpv4}, {"6", Families::kIpv6}, {"both", Families::kBoth}});
}

std::optional<Mac> mac_of(const std::string& flag, const std::string& text) {
  if (text.empty()) return std::nullopt;
  Mac mac{};
  bool good = text.size() == 17;
  for (std::size_t i = 0; good && i < mac.size(); ++i) {
    const char* at = text.data() + i * 3;
    good = std::from_chars(at, at + 2, mac[i], 16).ptr == at + 2 && (i == 5 || at[2] == ':');
  }
  if (!good) refuse(flag, "a MAC like 02:00:00:00:00:01", text);
  return mac;
}

// Fills in what was given for each family.
void read_prefixes(const std::string& flag, const std::vector<std::string>& texts,
                   std::array<Prefix, 2>& into) {
  for (const std::string& text : texts) {
    const auto prefix = Prefix::parse(text);
    if (!prefix) refuse(flag, "a prefix like 10.204.0.0/16 or fd00:204::/64", text);
    into[family_index(prefix->address.family)] = *prefix;
  }
}

void read_addresses(const std::string& flag, const std::vector<std::string>& texts,
                    std::array<std::optional<Address>, 2>& into) {
  for (const std::string& text : texts) {
    const auto address = Address::parse(text);
    if (!address) refuse(flag, "an address", text);
    into[family_index(address->family)] = address;
  }
}

// memif has no neighbours to ask: both ends have addresses that are written down.
void default_macs(Link& link, Mac ours, Mac theirs) {
  if (!link.device.starts_with("memif:")) return;
  if (!link.mac) link.mac = ours;
  if (!link.gateway_mac) link.gateway_mac = theirs;
}

std::uint16_t payload_size(const std::string& text) {
  std::uint16_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error != std::errc() || end != text.data() + text.size() || size < kLeastPayload ||
      size > kMostPayload) {
    refuse("--payload", "sizes from 20 to 1400", text);
  }
  return size;
}

// Sizes of a recorded trace, one a line, in its order.
std::vector<std::uint16_t> read_trace(const std::string& path) {
  std::ifstream file(path);
  if (!file) refuse("--payload", "a readable file with a size in each line", path);
  std::vector<std::uint16_t> sizes;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) sizes.push_back(payload_size(line));
  }
  if (sizes.empty()) refuse("--payload", "a size in each line of " + path, "");
  return sizes;
}

// "24:7,548:4,1400:1", the sizes spread evenly over one round.
std::vector<std::uint16_t> read_mix(const std::string& text) {
  struct Part {
    std::uint16_t size;
    unsigned weight;
    double position;
  };
  std::vector<Part> parts;
  std::size_t total = 0;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, end - at);
    const std::size_t colon = item.find(':');
    unsigned weight = 1;
    if (colon != std::string::npos) {
      const char* last = item.data() + item.size();
      const auto result = std::from_chars(item.data() + colon + 1, last, weight);
      if (result.ptr != last || weight == 0 || weight > 1000)
        refuse("--payload", "SIZE:WEIGHT with a weight from 1 to 1000", item);
    }
    parts.push_back({payload_size(item.substr(0, colon)), weight, 0});
    total += weight;
    at = end + 1;
  }
  std::vector<std::uint16_t> sizes;
  while (sizes.size() < total) {
    for (Part& part : parts)
      part.position += part.weight;
    const auto most =
        std::max_element(parts.begin(), parts.end(),
                         [](const Part& a, const Part& b) { return a.position < b.position; });
    most->position -= static_cast<double>(total);
    sizes.push_back(most->size);
  }
  return sizes;
}

std::vector<std::uint16_t> read_payloads(const std::string& text) {
  if (text.starts_with('@')) return read_trace(text.substr(1));
  return read_mix(text == "imix" ? "24:7,548:4,1400:1" : text);
}

void declare(CLI::App& app, Texts& texts, Options& options) {
  const auto one = [&app](const std::string& name, auto& into, const std::string& meaning,
                          const std::string& type) {
    return app.add_option(name, into, meaning)->type_name(type);
  };
  const auto many = [&app](const std::string& name, std::vector<std::string>& into,
                           const std::string& meaning, const std::string& type) {
    app.add_option(name, into, meaning)->allow_extra_args(false)->type_name(type);
  };
  const auto flag = [&app](const std::string& name, bool& into, const std::string& meaning) {
    app.add_flag(name, into, meaning);
  };
  one("--mode", texts.mode,
      "rate: send for --seconds; search: no-drop and partial-drop rate; storm: allocations a "
      "second; binding: Binding requests",
      "MODE");
  flag("--light", options.light, "prebuilt frames, about one in 60 checked: for speed");
  flag("--raw", options.raw,
       "set nothing up: the far end swaps the five-tuple (dpdk-testpmd --forward-mode=5tswap)");
  flag("--loop", options.loop, "set nothing up: a thread of this program sends all back");
  flag("--self-check", texts.self_check,
       "loop with faults planted on the way, and fail unless each is found");

  one("--port", texts.device,
      "memif:SOCKET, af_xdp:IFACE, af_packet:IFACE, tap:NAME, or a PCI address", "DEVICE");
  one("--mac", texts.mac, "our address on it; else the device's own", "MAC");
  one("--gateway-mac", texts.gateway_mac, "where frames go; else --gateway is asked for it", "MAC");
  many("--gateway", texts.gateways, "next hop, one for each family; else the server", "ADDRESS");
  many("--address", texts.addresses,
       "our address as next hop, for a server whose routes to clients and peers lead through us",
       "ADDRESS");
  one("--peer-port", texts.peer_device, "a second device for the peers", "DEVICE");
  one("--peer-mac", texts.peer_mac, "our address on that", "MAC");
  one("--peer-gateway-mac", texts.peer_gateway_mac, "where frames go from there", "MAC");
  many("--peer-gateway", texts.peer_gateways, "next hop there; else the relayed address",
       "ADDRESS");
  many("--peer-address", texts.peer_addresses, "our address as next hop there", "ADDRESS");
  one("--core", options.core, "core to run on; else the last", "N");
  one("--loop-core", options.loop_core, "core of the thread that sends all back", "N");
  flag("--no-hugepages", texts.no_hugepages, "use ordinary memory (memif then copies)");

  many("--server", texts.servers, "the TURN server, one for each family", "ADDRESS:PORT");
  many("--clients", texts.clients, "addresses of clients, one prefix for each family", "PREFIX");
  many("--peers", texts.peers, "addresses of peers", "PREFIX");
  many("--attackers", texts.attackers, "addresses that attacks come from", "PREFIX");
  one("--client-udp-port", options.client_port, "first port of clients", "PORT");
  one("--peer-udp-port", options.peer_port, "first port of peers", "PORT");
  one("--family", texts.family, "of clients: 4, 6 or both", "FAMILY");
  one("--peer-family", texts.peer_family, "of peers: 4, 6 or both; else each client's", "FAMILY");
  one("--user", options.user, "user name", "NAME");
  one("--password", options.password, "password", "PASSWORD");

  one("--allocations", options.allocations, "allocations, each with one peer", "N");
  one("--lifetime", options.lifetime_s, "lifetime to ask for, in seconds", "S");
  one("--window", options.window, "most requests in flight", "N");
  one("--refresh", options.refresh_s, "seconds between refreshes of each", "S");
  flag("--indications", options.indications, "Send and Data indications instead of channels");
  one("--at-a-time", options.at_a_time, "flows that have media at a time, with --light; else all",
      "N");
  one("--turnover", options.turnover,
      "of these, those that end in a second, with a new one for each: --allocations must last",
      "N");
  flag("--no-release", texts.no_release, "leave allocations behind at the end");
  one("--setup-only", options.setup_file, "set up, write the flows to FILE and leave them", "FILE");

  one("--direction", texts.directions, "both, up (from clients) or down (from peers)", "DIRECTION");
  one("--payload", texts.payload,
      "bytes; imix; SIZE:WEIGHT,…; or @FILE, a recorded trace with a size in each line", "SPEC");
  one("--rate", options.rate_pps, "packets a second, all together; 0: as fast as possible", "PPS");
  one("--seconds", options.seconds, "how long to send (search: each trial)", "S");
  one("--warm-up", options.warm_up_s, "how long to send before that, uncounted", "S");
  one("--slices", texts.slices, "N runs of --seconds each; 0: until the input ends", "N");
  one("--slice-seconds", options.seconds, "the same as --seconds", "S");
  flag("--pause", options.pause, "wait for a line `go [SECONDS [PPS]]` on stdin before each slice");

  one("--attack", texts.attack,
      "bogus, allocate, malformed, bombs, bindings, channels, fragments, users or all, beside "
      "the media",
      "KIND");
  one("--attack-rate", options.attack_pps, "packets of it a second", "PPS");
  one("--ceiling", texts.ceiling_mpps, "this generator's own limit, if it was measured before",
      "MPPS");
  flag("--no-ceiling", texts.no_ceiling, "don't measure the generator's own limit first");
  one("--json", options.json_file, "write the last report there too", "FILE");
}

void read_servers(const Texts& texts, Options& options) {
  for (const std::string& text : texts.servers) {
    const auto server = Endpoint::parse(text);
    if (!server || server->port == 0) refuse("--server", "ADDRESS:PORT like 10.203.0.1:3478", text);
    options.servers[family_index(server->address.family)] = *server;
  }
  // What bench/compare and the tests configure.
  if (texts.servers.empty()) {
    options.servers = {Endpoint::parse("10.203.0.1:3478"), Endpoint::parse("[fd00:203::1]:3478")};
  }
}

void read_links(const Texts& texts, Options& options) {
  options.link.device = texts.device;
  options.link.mac = mac_of("--mac", texts.mac);
  options.link.gateway_mac = mac_of("--gateway-mac", texts.gateway_mac);
  read_addresses("--gateway", texts.gateways, options.link.gateways);
  read_addresses("--address", texts.addresses, options.link.addresses);
  default_macs(options.link, {2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 1});
  if (texts.peer_device.empty()) return;
  Link& link = options.peer_link.emplace();
  link.device = texts.peer_device;
  link.mac = mac_of("--peer-mac", texts.peer_mac);
  link.gateway_mac = mac_of("--peer-gateway-mac", texts.peer_gateway_mac);
  read_addresses("--peer-gateway", texts.peer_gateways, link.gateways);
  read_addresses("--peer-address", texts.peer_addresses, link.addresses);
  default_macs(link, {2, 0, 0, 0, 0, 4}, {2, 0, 0, 0, 0, 3});
}

void read_choices(const Texts& texts, Options& options) {
  options.mode = choose<Mode>("--mode", texts.mode,
                              {{"rate", Mode::kRate},
                               {"search", Mode::kSearch},
                               {"storm", Mode::kStorm},
                               {"binding", Mode::kBinding}});
  if (texts.self_check) {
    options.mode = Mode::kSelfCheck;
    options.loop = true;
  }
  options.attack = choose<Attack>("--attack", texts.attack,
                                  {{"none", Attack::kNone},
                                   {"bogus", Attack::kBogus},
                                   {"allocate", Attack::kAllocate},
                                   {"malformed", Attack::kMalformed},
                                   {"bombs", Attack::kBombs},
                                   {"bindings", Attack::kBindings},
                                   {"channels", Attack::kChannels},
                                   {"fragments", Attack::kFragments},
                                   {"users", Attack::kUsers},
                                   {"all", Attack::kAll}});
  options.directions = choose<Directions>(
      "--direction", texts.directions,
      {{"both", Directions::kBoth}, {"up", Directions::kUp}, {"down", Directions::kDown}});
  options.client_families = families_of("--family", texts.family);
  if (!texts.peer_family.empty())
    options.peer_families = families_of("--peer-family", texts.peer_family);
  options.payloads = read_payloads(texts.payload);
  if (!texts.slices.empty()) {
    options.slices_asked = true;
    const char* last = texts.slices.data() + texts.slices.size();
    if (std::from_chars(texts.slices.data(), last, options.slices).ptr != last)
      refuse("--slices", "how many, or 0", texts.slices);
  }
  if (texts.ceiling_mpps < 0)
    refuse("--ceiling", "0 (none) or more", std::to_string(texts.ceiling_mpps));
  if (texts.ceiling_mpps > 0) options.ceiling_pps = texts.ceiling_mpps * 1e6;
  options.hugepages = !texts.no_hugepages;
  options.release = !texts.no_release;
  options.measure_ceiling = !texts.no_ceiling && !options.ceiling_pps;
}

void check_numbers(const Options& options) {
  const auto number = [](double value) {
    std::string text = std::to_string(value);
    text.erase(text.find_last_not_of('0') + 1);
    return text.ends_with('.') ? text.substr(0, text.size() - 1) : text;
  };
  if (options.allocations == 0 || options.allocations > 1'000'000)
    refuse("--allocations", "1 to 1000000", std::to_string(options.allocations));
  if (has_hostile_users(options.attack) && options.allocations <= kHostileUsers)
    refuse("--allocations",
           "more than " + std::to_string(kHostileUsers) + ", which the attack takes",
           std::to_string(options.allocations));
  if (options.window == 0 || options.window > 4096)
    refuse("--window", "1 to 4096", std::to_string(options.window));
  if (options.refresh_s == 0) refuse("--refresh", "at least 1", "0");
  if (!(options.seconds > 0)) refuse("--seconds", "more than 0", number(options.seconds));
  if (!(options.warm_up_s >= 0)) refuse("--warm-up", "0 or more", number(options.warm_up_s));
  if (!(options.rate_pps >= 0)) refuse("--rate", "0 or more", number(options.rate_pps));
  if (options.attack != Attack::kNone && !(options.attack_pps > 0))
    refuse("--attack-rate", "more than 0", number(options.attack_pps));
}

void check_together(const Options& options) {
  if (options.link.device.empty() && !options.loop)
    refuse("--port", "a device, like memif:/run/x.sock, af_xdp:eth0 or 0000:01:00.0", "");
  const auto reach = [](Families families, std::size_t family) {
    return families == Families::kBoth ||
           family == (families == Families::kIpv4 ? std::size_t{0} : std::size_t{1});
  };
  for (std::size_t family = 0; family < 2; ++family) {
    const std::string number = family == 0 ? "4" : "6";
    if (reach(options.client_families, family) && !options.servers[family])
      refuse("--server", "an IPv" + number + " address for the clients of that family", "none");
    for (const auto& server : options.servers) {
      if (server && (options.clients[family].contains(server->address) ||
                     options.peers[family].contains(server->address)))
        refuse("--clients and --peers", "prefixes without the server's address",
               server->address.to_string());
    }
  }
  if (options.light && options.indications) {
    for (const std::uint16_t size : options.payloads) {
      if (size % 4 != 0)
        refuse("--payload", "multiples of 4 with --light --indications", std::to_string(size));
    }
  }
  if (options.at_a_time > options.allocations)
    refuse("--at-a-time", "no more than --allocations", std::to_string(options.at_a_time));
  if ((options.at_a_time > 0 && !options.light) || (options.turnover > 0 && options.at_a_time == 0))
    refuse(options.turnover > 0 ? "--turnover" : "--at-a-time",
           options.light ? "--at-a-time with it" : "--light with it", "none");
  if (options.light && options.attack != Attack::kNone)
    refuse("--attack", "no --light beside it: only the full mode tells media from answers",
           "--light");
}

}  // namespace

std::variant<Options, Exit> read_options(int argc, const char* const* argv) {
  CLI::App app("turnpike-pktgen plays TURN clients and their peers on a DPDK port, at any rate.",
               "turnpike-pktgen");
  Texts texts;
  Options options;
  options.clients = {*Prefix::parse("10.204.0.0/16"), *Prefix::parse("fd00:204::/64")};
  options.peers = {*Prefix::parse("10.205.0.0/16"), *Prefix::parse("fd00:205::/64")};
  options.attackers = {*Prefix::parse("10.206.0.0/16"), *Prefix::parse("fd00:206::/64")};
  declare(app, texts, options);
  try {
    app.parse(argc, argv);
    read_choices(texts, options);
    read_links(texts, options);
    read_servers(texts, options);
    read_prefixes("--clients", texts.clients, options.clients);
    read_prefixes("--peers", texts.peers, options.peers);
    read_prefixes("--attackers", texts.attackers, options.attackers);
    check_numbers(options);
    check_together(options);
  } catch (const CLI::CallForHelp&) {
    return Exit{0, app.help()};
  } catch (const std::exception& error) {
    return Exit{2, "turnpike-pktgen: " + std::string(error.what()) +
                       "\nturnpike-pktgen --help lists the flags\n"};
  }
  return options;
}

}  // namespace turnpike::pktgen
