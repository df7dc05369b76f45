// What the kernel tells of the machine's memory, sockets and cores, and what follows for DPDK.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"

namespace turnpike::dataplane {

// Hugepages that nobody has yet, by size.
struct FreePages {
  std::uint64_t mb_of_2m = 0;
  std::uint64_t mb_of_1g = 0;
};
FreePages free_hugepages();

struct MemoryPlan {
  bool huge = false;
  std::string words;  // "200 MiB of 2 MiB pages"
};
// Hugepages where one size has room for all; a host may have been given either.
MemoryPlan plan_memory(const FreePages& free, bool allowed, std::uint32_t wanted_mb);

// A core that this process may use, and where it lies.
struct Core {
  int number = 0;
  int socket = 0;
  int sibling = 0;  // 0: the first of its physical core's threads
};
std::vector<Core> cores_of_machine(const std::vector<int>& allowed);
int socket_of_core(int core);

// In which order workers take them: on the devices' socket first (-1: no matter), one of each
// physical core, core 0 last among equals, since the kernel's own work is mostly there.
std::vector<int> in_order_of_use(std::vector<Core> cores, int socket);

// The socket that a port's device is attached to; -1: unknown, or the machine has one.
int socket_of_device(const PortSpec& port);

}  // namespace turnpike::dataplane
