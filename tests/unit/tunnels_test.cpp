// Which client addresses are tunnels' (RFC 8656 §21.4).
#include <gtest/gtest.h>

#include "turn/tunnels.h"

namespace turnpike {
namespace {

TEST(Tunnels, AreToldByTheFormOfTheirAddresses) {
  for (const char* tunnelled : {"2001::1", "2001:0:53aa:64c:0:fbff:aaaa:bbbb", "2002:c000:204::1",
                                "2002::", "2001:db8:1:2:0:5efe:192.0.2.1",
                                "2001:db8:1:2:200:5efe:192.0.2.1", "::192.0.2.1"}) {
    EXPECT_TRUE(is_tunnelled(*Address::parse(tunnelled))) << tunnelled;
  }
}

TEST(Tunnels, AreNoOthers) {
  for (const char* plain :
       {"2001:db8::1", "2003::1", "2001:1::1", "fd00::5efe:1", "2001:db8:1:2:100:5efe:c000:201",
        "2001:db8:1:2:0:5eff:c000:201", "2001:db8:1:2:1:5efe:c000:201", "192.0.2.1", "32.2.0.1"}) {
    EXPECT_FALSE(is_tunnelled(*Address::parse(plain))) << plain;
  }
}

}  // namespace
}  // namespace turnpike
