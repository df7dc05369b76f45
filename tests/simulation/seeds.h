// How a simulation is run: first the seeds of a file, which have failed before, then new ones.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>

namespace turnpike::simulation {

// For main(): SHARDS RUNS SEEDS-FILE; TURNPIKE_SIMULATION_RUNS overrides the number of new ones.
// `run(seed, shards)`: whether it went well. `complete()`: whether all that should happen has.
template <typename Run, typename Complete>
int run_seeds(int argc, char** argv, Run&& run, Complete&& complete) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s SHARDS RUNS SEEDS-FILE\n", argv[0]);
    return 2;
  }
  const auto shards = static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10));
  const char* more = std::getenv("TURNPIKE_SIMULATION_RUNS");
  const auto runs = std::strtoul(more != nullptr ? more : argv[2], nullptr, 10);
  bool ok = true;
  std::ifstream seeds(argv[3]);
  for (std::string line; std::getline(seeds, line);) {
    if (!line.empty() && line[0] != '#')
      ok &= run(std::uint64_t{std::strtoull(line.c_str(), nullptr, 10)}, shards);
  }
  std::random_device fresh;
  for (std::size_t i = 0; i < runs; ++i)
    ok &= run(std::uint64_t{fresh()} << 32 | fresh(), shards);
  return complete() && ok ? 0 : 1;
}

}  // namespace turnpike::simulation
