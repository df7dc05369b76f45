// What the kernel tells of an interface that is to be a port, first whether it can be one at all.
#pragma once

#include <cstdint>
#include <string>

namespace turnpike::kernel {

// What is wrong and what to do, in words; empty: nothing. Needs no EAL.
std::string interface_problem(const std::string& interface);

// Up, and with a link.
bool interface_is_running(const std::string& interface);

// 1500 where the kernel doesn't say.
std::uint16_t interface_mtu(const std::string& interface);

}  // namespace turnpike::kernel
