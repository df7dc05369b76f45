// Whether a configuration that is right by itself fits this host, and what the host adds to it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "config/config.h"
#include "control/service.h"
#include "kernel/host_addresses.h"
#include "tables/tables.h"

namespace turnpike::control {

// A configuration that is right by itself and wrong on this host.
class Misfit : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Of what is wrong at a place that the configuration remembers.
[[noreturn]] void refuse(const config::Where& where, const std::string& key,
                         const std::string& problem);

// Whether listeners or relayed addresses are left to be those of the one kernel-shared port.
bool is_by_default(const config::Config& config);

// At boot the interface may be there before its address, for as long as a DHCP server takes. False:
// told to end meanwhile. Throws std::runtime_error where there is no such interface.
bool wait_for_addresses(const config::Config& config, kernel::HostAddresses& host,
                        const Signals& signals);

// With one kernel-shared port, what is not configured is what the interface has. Throws Misfit.
config::Config completed(config::Config config, const kernel::HostAddresses& host);

// Throw Misfit.
void check_cores(const config::Config& config);
// Rather a refusal at the start than the kernel's out-of-memory killer under load.
void check_memory(const flow::TableLimits& limits, std::uint16_t workers);

// No core file, and no other process of the same user that reads the memory (prctl(2)).
void keep_memory_private();

}  // namespace turnpike::control
