// What is chosen for machines that this one is not.
#include "dataplane/machine.h"

#include <gtest/gtest.h>

#include "dataplane/eal.h"

namespace turnpike::dataplane {
namespace {

using Numbers = std::vector<int>;

TEST(Memory, TakesHugepagesOfEitherSize) {
  EXPECT_TRUE(plan_memory({512, 0}, true, 200).huge);
  EXPECT_EQ(plan_memory({512, 0}, true, 200).words, "200 MiB of 2 MiB pages");
  EXPECT_TRUE(plan_memory({0, 2048}, true, 200).huge);
  EXPECT_EQ(plan_memory({0, 2048}, true, 200).words, "200 MiB of 1 GiB pages");
}

TEST(Memory, SaysWhyItTakesNone) {
  EXPECT_FALSE(plan_memory({64, 0}, true, 200).huge);
  EXPECT_EQ(plan_memory({64, 0}, true, 200).words,
            "200 MiB of 4 KiB pages (of hugepages 64 MiB are free)");
  EXPECT_FALSE(plan_memory({512, 2048}, false, 200).huge);
  EXPECT_EQ(plan_memory({512, 2048}, false, 200).words,
            "200 MiB of 4 KiB pages (hugepages = false)");
}

TEST(Cores, AreTakenOnTheDevicesSocketFirst) {
  const std::vector<Core> alternating{{0, 0, 0}, {1, 1, 0}, {2, 0, 0}, {3, 1, 0}};
  EXPECT_EQ(in_order_of_use(alternating, 1), (Numbers{1, 3, 2, 0}));
  EXPECT_EQ(in_order_of_use(alternating, 0), (Numbers{2, 0, 1, 3}));
  EXPECT_EQ(in_order_of_use(alternating, -1), (Numbers{1, 2, 3, 0}));
}

TEST(Cores, AreTakenOneOfEachPhysicalCore) {
  const std::vector<Core> threads{{0, 0, 0}, {1, 0, 0}, {2, 0, 1}, {3, 0, 1}};
  EXPECT_EQ(in_order_of_use(threads, -1), (Numbers{1, 0, 2, 3}));
}

TEST(Cores, OfThisMachineAreThoseAllowed) {
  const std::vector<int> allowed = allowed_cores();
  const std::vector<Core> cores = cores_of_machine(allowed);
  ASSERT_EQ(cores.size(), allowed.size());
  for (std::size_t i = 0; i < cores.size(); ++i) {
    EXPECT_EQ(cores[i].number, allowed[i]);
    EXPECT_GE(cores[i].socket, 0);
  }
  EXPECT_EQ(cores[0].sibling, 0);
}

TEST(Devices, WithoutASocketSayNone) {
  PortSpec port;
  port.driver = Driver::kPci;
  port.device = "ffff:ff:1f.7";
  EXPECT_EQ(socket_of_device(port), -1);
  port.driver = Driver::kMemif;
  port.device = "/run/x";
  EXPECT_EQ(socket_of_device(port), -1);
}

}  // namespace
}  // namespace turnpike::dataplane
