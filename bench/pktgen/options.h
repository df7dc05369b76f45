// What the generator is asked to do, from its command line.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::pktgen {

using Mac = std::array<std::uint8_t, 6>;

enum class Mode : std::uint8_t { kRate, kSearch, kStorm, kBinding, kSelfCheck };
enum class Attack : std::uint8_t {
  kNone,
  kBogus,
  kAllocate,
  kMalformed,
  kBombs,
  kBindings,
  kChannels,
  kFragments,
  kUsers,
  kAll
};
// Whether some of the allocations are the attackers' own.
constexpr bool has_hostile_users(Attack attack) {
  return attack == Attack::kUsers || attack == Attack::kAll;
}
// As many; they carry no media.
constexpr std::uint32_t kHostileUsers = 16;
// Which families clients, or peers, have.
enum class Families : std::uint8_t { kIpv4, kIpv6, kBoth };
enum class Directions : std::uint8_t { kBoth, kUp, kDown };

// A device and the way from it to the server.
struct Link {
  std::string device;              // as the relay's configuration names devices
  std::optional<Mac> mac;          // ours; none: the device's own
  std::optional<Mac> gateway_mac;  // next hop's; none: asked for
  // By family_index. Whom to ask for the next hop's MAC (none: the server itself), and what we are
  // called as somebody else's next hop.
  std::array<std::optional<Address>, 2> gateways, addresses;
};

// In the order of --help.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
struct Options {
  Mode mode = Mode::kRate;
  bool light = false;  // prebuilt frames, about one in 60 stamped and checked
  bool raw = false;    // nothing is set up: the far end swaps the five-tuple
  bool loop = false;   // nothing is set up: the far end is a thread of ours that sends all back

  Link link;
  std::optional<Link> peer_link;
  int core = -1;       // -1: the last of those allowed
  int loop_core = -1;  // -1: the first of those allowed that isn't `core`
  bool hugepages = true;

  std::array<std::optional<Endpoint>, 2> servers;  // by family_index
  std::array<Prefix, 2> clients, peers, attackers;
  std::uint16_t client_port = 10000, peer_port = 5000;
  Families client_families = Families::kIpv4;
  std::optional<Families> peer_families;  // none: each client's own
  std::string user = "alice", password = "secret";

  std::uint32_t allocations = 1000;
  std::uint32_t lifetime_s = 3600;
  std::uint32_t window = 256;
  std::uint32_t refresh_s = 200;
  bool indications = false;
  std::uint32_t at_a_time = 0;  // flows that have media at a time; 0: all
  double turnover = 0;          // of them, those that give way to the next ones in a second
  bool release = true;

  Directions directions = Directions::kBoth;
  std::vector<std::uint16_t> payloads = {160};  // taken in turn
  double rate_pps = 0;                          // 0: as fast as the port takes them
  double seconds = 10;
  double warm_up_s = 0.25;

  bool slices_asked = false;
  std::uint32_t slices = 0;  // 0: until the end of the input
  bool pause = false;

  Attack attack = Attack::kNone;
  double attack_pps = 100000;

  std::optional<double> ceiling_pps;
  bool measure_ceiling = true;
  std::string json_file, setup_file;
};

struct Exit {
  int status = 0;
  std::string text;
};

// A usage error exits with 2 and says what to type.
std::variant<Options, Exit> read_options(int argc, const char* const* argv);

}  // namespace turnpike::pktgen
