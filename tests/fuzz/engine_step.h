// Eight bytes of the engine fuzzer's input as what they mean, decoded in one place; the names are
// engine_corpus.py's, which writes them.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace turnpike::fuzz {

inline constexpr std::size_t kStepSize = 8;

// The first byte of all.
struct Shape {
  explicit Shape(std::uint8_t bits)
      : three_shards((bits & 1) != 0),
        dual((bits & 2) != 0),
        few_ports((bits & 4) != 0),
        few_allocations((bits & 8) != 0),
        strict((bits & 16) != 0),
        software((bits & 32) != 0) {}

  bool three_shards, dual, few_ports, few_allocations, strict, software;
};

enum class What : std::uint8_t {
  kAllocate,
  kRefresh,
  kPermit,
  kBind,
  kAgain,
  kNoise,
  kShortWhile,
  kLongWhile,
  kKeys,
  kSwitch,
  kTick,
};

enum class As : std::uint8_t { kSelf, kOtherUser, kUnknownUser, kUserhash };
enum class Scheme : std::uint8_t { kRfc5389, kMd5, kSha256, kWeakened };
enum class Nonce : std::uint8_t { kFresh, kOld, kForeign, kBad };
enum class Damage : std::uint8_t { kNone, kBit, kCut, kOverheard };

struct Step {
  explicit Step(std::span<const std::uint8_t, kStepSize> in)
      : what(kWhats[in[0] % kWhats.size()]),
        client{.number = in[1] & 3U,
               .listener = in[1] >> 2 & 3U,
               .as = static_cast<As>(in[1] >> 4 & 3),
               .same_id = (in[1] & 64) != 0,
               .fingerprint = (in[1] & 128) != 0},
        how{.scheme = static_cast<Scheme>(in[2] & 3),
            .nonce = static_cast<Nonce>(in[2] >> 2 & 3),
            .wrong_key = (in[2] & 16) != 0,
            .is_unsigned = (in[2] & 32) != 0,
            .foreign_realm = (in[2] & 64) != 0,
            .both_integrities = (in[2] & 128) != 0},
        allocate{.no_transport = (in[3] & 1) != 0,
                 .has_lifetime = (in[3] & 2) != 0,
                 .has_family = (in[3] & 4) != 0,
                 .both_families = (in[3] & 8) != 0,
                 .even_port = (in[3] & 16) != 0,
                 .has_token = (in[3] & 32) != 0,
                 .dont_fragment = (in[3] & 64) != 0,
                 .additional_family = static_cast<std::uint8_t>((in[5] >> 2 & 3) ^ 2),
                 .even_only = (in[5] & 16) != 0,
                 .token = in[6],
                 .tcp = (in[7] & 64) != 0},
        refresh{.no_lifetime = (in[3] & 1) != 0, .has_family = (in[3] & 2) != 0},
        lifetime_s(in[4] * 20U),
        family(in[5] & 3),
        peers(in[3] & 3U, {in[4], in[5], in[6], in[7]}),
        bind{.no_number = (in[3] & 1) != 0,
             .no_peer = (in[3] & 2) != 0,
             .number = in[4] & 7U,
             .peer = in[5] & 7U},
        nonsense{.is_there = (in[7] & 128) != 0,
                 .attribute = in[7] & 15U,
                 .value = {in[4], in[5], in[6]},
                 .size = in[6] % (sizeof(Nonsense::value) + 1)},
        again{.damage = static_cast<Damage>(in[3] & 3),
              .at = in[4] | std::size_t{in[5]} << 8,
              .bit = in[6] & 7U},
        noise_size(in[7]),
        ten_ms(in[1]),
        twenty_s(in[1]),
        stalled(in[2]),
        keys{.which = in[1] & 1U,
             .by_hash = (in[1] & 2) != 0,
             .of_nobody = (in[1] & 4) != 0,
             .foreign_realm = (in[1] & 8) != 0},
        turned{.late = (in[1] & 1) != 0,
               .full = (in[1] & 2) != 0,
               .no_ann = (in[1] & 4) != 0,
               .no_bob = (in[1] & 8) != 0,
               .room = in[2]} {}

  What what;

  // Of all that clients say:
  struct Client {
    std::size_t number, listener;
    As as;
    bool same_id, fingerprint;
  } client;
  struct How {
    Scheme scheme;
    Nonce nonce;
    bool wrong_key, is_unsigned, foreign_realm, both_integrities;
  } how;

  struct Allocate {
    bool no_transport, has_lifetime, has_family, both_families, even_port, has_token, dont_fragment;
    std::uint8_t additional_family;
    bool even_only;  // with even_port
    std::size_t token;
    bool tcp;
  } allocate;
  struct Refresh {
    bool no_lifetime, has_family;
  } refresh;
  std::uint32_t lifetime_s;  // of both
  std::uint8_t family;
  struct Peers {
    Peers(std::size_t last, std::array<std::uint8_t, 4> all) : count(last + 1), numbers(all) {}
    std::size_t count;
    std::array<std::uint8_t, 4> numbers;
  } peers;  // of kPermit
  struct Bind {
    bool no_number, no_peer;
    std::size_t number, peer;
  } bind;
  // Any attribute in front of the right ones.
  struct Nonsense {
    bool is_there;
    std::size_t attribute;
    std::array<std::uint8_t, 36> value;
    std::size_t size;
  } nonsense;

  struct Again {
    Damage damage;
    std::size_t at;
    unsigned bit;
  } again;
  std::size_t noise_size;

  std::uint32_t ten_ms;    // of kShortWhile
  std::uint32_t twenty_s;  // of kLongWhile
  unsigned stalled;        // shards that don't tick, a bit each
  struct Keys {
    std::size_t which;
    bool by_hash, of_nobody, foreign_realm;
  } keys;
  struct Switch {
    bool late, full, no_ann, no_bob;
    std::uint32_t room;
  } turned;

 private:
  static constexpr std::array<What, 16> kWhats{
      What::kAllocate,  What::kAllocate, What::kAllocate, What::kRefresh,
      What::kRefresh,   What::kPermit,   What::kPermit,   What::kBind,
      What::kBind,      What::kAgain,    What::kNoise,    What::kShortWhile,
      What::kLongWhile, What::kKeys,     What::kSwitch,   What::kTick};
};

}  // namespace turnpike::fuzz
