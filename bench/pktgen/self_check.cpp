// A run for each planted fault, and what must be found in it.
#include "self_check.h"

#include <vector>

#include "loopback.h"
#include "report.h"
#include "session.h"
#include "traffic.h"

namespace turnpike::pktgen {
namespace {

constexpr double kRate = 50000, kSeconds = 0.3;
constexpr std::uint32_t kEvery = 500;

struct Case {
  const char* name;
  Fault fault;
  std::uint64_t DirectionTally::*found;  // nullptr: packets that are missing
};

constexpr std::array kCases = {
    Case{"nothing", Fault::kNone, &DirectionTally::corrupted},
    Case{"drop", Fault::kDrop, nullptr},
    Case{"flipped payload", Fault::kFlipPayload, &DirectionTally::corrupted},
    Case{"flipped payload, wrong checksum", Fault::kFlipChecksum, &DirectionTally::corrupted},
    Case{"wrong receiver", Fault::kMisdeliver, &DirectionTally::misdelivered},
    Case{"duplicate", Fault::kDuplicate, &DirectionTally::duplicated},
    Case{"reorder", Fault::kReorder, &DirectionTally::reordered},
};

// `found` of both directions; all other kinds in `others`.
bool exactly(const Tally& tally, const Case& wanted, std::uint64_t planted) {
  std::uint64_t found = wanted.found == nullptr ? tally.lost() : 0;
  std::uint64_t others = wanted.found == nullptr ? 0 : tally.lost();
  using Count = std::uint64_t DirectionTally::*;
  for (const Count count : {&DirectionTally::duplicated, &DirectionTally::reordered,
                            &DirectionTally::corrupted, &DirectionTally::misdelivered}) {
    const std::uint64_t sum = tally.directions[0].*count + tally.directions[1].*count;
    (count == wanted.found ? found : others) += sum;
  }
  say(std::string("planted ") + wanted.name + ": " + std::to_string(planted) + ", found " +
      std::to_string(found) + ", and " + std::to_string(others) + " other faults");
  return found == planted && others == 0 && (planted > 0 || wanted.fault == Fault::kNone);
}

// Light mode looks at one packet in 61, so of all frames harmed some must be found, and none of no
// harm.
bool light_notices(const World& world, Loopback& loopback) {
  const auto traffic = make_light_traffic(world);
  bool good = true;
  for (const auto& [name, fault] : {std::pair("nothing", Fault::kNone),
                                    {"flipped payload", Fault::kFlipPayload},
                                    {"wrong receiver", Fault::kMisdeliver}}) {
    loopback.plant(fault, 1);
    const Tally tally = traffic->run(kRate, kSeconds, nullptr);
    const std::uint64_t corrupted = tally.directions[0].corrupted + tally.directions[1].corrupted;
    const std::uint64_t wrong =
        tally.directions[0].misdelivered + tally.directions[1].misdelivered + tally.foreign;
    say(std::string("light, planted ") + name + " everywhere: checked " +
        std::to_string(tally.checked) + ", corrupted " + std::to_string(corrupted) +
        ", to a wrong receiver " + std::to_string(wrong));
    const std::uint64_t expected = fault == Fault::kNone ? 0 : tally.checked;
    good = good && tally.checked > 100 &&
           (fault == Fault::kMisdeliver ? wrong : corrupted) == expected;
  }
  return good;
}

}  // namespace

bool self_check(const Options& options, const Plan& plan, const Pools& pools) {
  Loopback loopback(pools, options.loop_core);
  Session session(options, plan, loopback.port(), loopback.port());
  session.pretend();
  const World world{options,         plan,  session,        loopback.port(),
                    loopback.port(), pools, FarEnd::kMirror};
  bool good = true;
  for (const Case& wanted : kCases) {
    loopback.plant(wanted.fault, kEvery);
    const auto traffic = make_full_traffic(world);
    Tally tally = traffic->run(kRate, kSeconds, nullptr);
    const std::uint64_t planted = wanted.fault == Fault::kNone ? 0 : loopback.planted();
    // A frame that is held back when the run ends comes with the next.
    loopback.plant(Fault::kNone, 1);
    tally.add(traffic->run(kRate, kSeconds / 3, nullptr));
    good = exactly(tally, wanted, planted) && good;
  }
  good = light_notices(world, loopback) && good;
  say(good ? "self-check passed" : "SELF-CHECK FAILED");
  return good;
}

}  // namespace turnpike::pktgen
