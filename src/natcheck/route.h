// Whether the kernel's routing tables lead to an address through an interface.
#pragma once

#include <string>

#include "turnpike/address.h"

namespace turnpike::natcheck {

// True also where the kernel can't be asked: then a packet will find out.
bool leads_to(const std::string& interface, const Address& destination);

}  // namespace turnpike::natcheck
