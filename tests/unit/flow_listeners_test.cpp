// Which listener a packet comes to.
#include <gtest/gtest.h>

#include "flow/here.h"
#include "flow_world.h"

namespace turnpike::flow::test {
namespace {

// A listener for another transport is no worker's.
TEST(Listeners, OneOfAnotherTransportTakesNoUdp) {
  constexpr std::uint16_t kStreamPort = 5349;
  constexpr auto kStream = static_cast<Transport>(6);
  for (const Address& address : {kServer4, kServer6}) {
    flow::Setup setup;
    // The first one has the endpoint of the second.
    setup.listeners = {
        {{address, kPort}, kStream}, {{address, kPort}}, {{address, kStreamPort}, kStream}};
    const Here here(setup);
    EXPECT_FALSE(here.listener_at({address, kStreamPort}));
    EXPECT_NE(here.find(address), nullptr);
    EXPECT_EQ(here.listener_at({address, kPort}), ListenerIndex{1});
  }
}

}  // namespace
}  // namespace turnpike::flow::test
