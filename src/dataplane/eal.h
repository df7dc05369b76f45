// DPDK's environment: started with what the options ask for and this host can give, ended without a
// trace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace turnpike::dataplane {

struct EalOptions {
  std::vector<std::string> pci_devices;  // "ADDRESS[,devargs]"; empty: PCI is not looked at
  bool hugepages = true;                 // use them where enough are free
  std::uint32_t memory_mb = 256;         // for pools and rings
  std::vector<int> cores;                // of all threads that are no workers; empty: all that
                                         // are allowed
};

// Throws std::runtime_error with DPDK's reason. Once in a process. The calling thread is kept to
// `cores`, as are DPDK's own threads. Returns which memory was taken, in words.
std::string start_eal(const EalOptions& options);
// Removes the runtime directory too.
void stop_eal();

// The cores that this process may use, in order.
std::vector<int> allowed_cores();

}  // namespace turnpike::dataplane
