// The arguments of DPDK's environment, and what an operator is told where it does not start.
#include "dataplane/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "dataplane/machine.h"

namespace turnpike::dataplane {
namespace {

constexpr const char* kRuntime = "/run/dpdk";
constexpr std::string_view kPrefix = "turnpike-";

// Directories of ours whose process is gone: a killed one can't remove its own.
void remove_stale_runtime() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kRuntime, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    pid_t pid = 0;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), pid);
    if (pid > 0 && pid != getpid() && kill(pid, 0) != 0)
      std::filesystem::remove_all(entry.path(), error);
  }
}

std::string prefix() {
  return std::string(kPrefix) + std::to_string(getpid());
}

void remove_runtime() {
  std::error_code error;
  std::filesystem::remove_all(std::string(kRuntime) + "/" + prefix(), error);
  std::filesystem::remove(kRuntime, error);  // only if it is empty
}

// One lcore, the calling thread; workers register their own. It floats over all of `cores`: DPDK
// would pin it to one, and with it every thread made later.
std::string lcores(const std::vector<int>& cores) {
  std::string list;
  for (const int core : cores)
    list += (list.empty() ? "" : ",") + std::to_string(core);
  return "--lcores=0@(" + list + ")";
}

// DPDK gives its own threads the cores that the process has beside its lcores', or the lcores' if
// there are none: so that they stay off the workers', the process must first have no others.
void keep_to(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores)
    CPU_SET(static_cast<unsigned>(core), &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace

std::string start_eal(const EalOptions& options) {
  remove_stale_runtime();
  const std::vector<int> cores = options.cores.empty() ? allowed_cores() : options.cores;
  keep_to(cores);
  std::vector<std::string> words = {"turnpike",
                                    "--no-telemetry",
                                    "--log-level=lib.*:error",
                                    "--log-level=pmd.*:error",
                                    "--log-level=user1:error",
                                    "--file-prefix=" + prefix(),
                                    lcores(cores)};
  MemoryPlan memory = plan_memory(free_hugepages(), options.hugepages, options.memory_mb);
  if (memory.huge) {
    words.emplace_back("--in-memory");  // nothing in hugetlbfs to be left behind
    // memif's zero copy shares memory by file descriptors, of which there must be few.
    words.emplace_back("--single-file-segments");
  } else {
    words.emplace_back("--no-huge");  // which --in-memory doesn't go with
    words.emplace_back("--no-shconf");
    words.emplace_back("-m");
    words.emplace_back(std::to_string(options.memory_mb));
  }
  if (options.pci_devices.empty()) {
    words.emplace_back("--no-pci");
    // Nobody is given physical addresses, so hugepages needn't lie side by side to be one piece.
    words.emplace_back("--iova-mode=va");
  }
  for (const std::string& device : options.pci_devices) {
    words.emplace_back("-a");
    words.push_back(device);
  }
  std::vector<char*> arguments;
  for (std::string& word : words)
    arguments.push_back(word.data());
  const bool started = rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) >= 0;
  // Its folder is for further processes, of which there are none; at the end the right to remove it
  // may be gone.
  remove_runtime();
  if (!started) {
    throw std::runtime_error(std::string("DPDK does not start: ") + rte_strerror(rte_errno));
  }
  return memory.words;
}

void stop_eal() {
  rte_eal_cleanup();
}

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cores;
  cores.reserve(static_cast<std::size_t>(CPU_COUNT(&set)));
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<unsigned>(core), &set)) cores.push_back(core);
  }
  return cores;
}

}  // namespace turnpike::dataplane
