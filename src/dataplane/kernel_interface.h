// Whether an interface of the kernel can be a port at all.
#pragma once

#include <string>

namespace turnpike::dataplane {

// What is wrong and what to do, in words; empty: nothing. Needs no EAL.
std::string interface_problem(const std::string& interface);

}  // namespace turnpike::dataplane
