// When what was withdrawn can be used again: once every reader has been quiescent.
#include "base/qsbr.h"

#include <gtest/gtest.h>

namespace turnpike {
namespace {

TEST(Qsbr, WaitsForOnlineReadersOnly) {
  Qsbr qsbr;
  EXPECT_TRUE(qsbr.passed(qsbr.start())) << "all are offline";
  qsbr.quiescent(0);
  qsbr.quiescent(1);
  const Qsbr::Token token = qsbr.start();
  EXPECT_FALSE(qsbr.passed(token));
  qsbr.quiescent(0);
  EXPECT_FALSE(qsbr.passed(token));
  qsbr.quiescent(1);
  EXPECT_TRUE(qsbr.passed(token));
  const Qsbr::Token later = qsbr.start();
  EXPECT_TRUE(qsbr.passed(token));
  EXPECT_FALSE(qsbr.passed(later));
  qsbr.offline(0);
  qsbr.offline(1);
  EXPECT_TRUE(qsbr.passed(later));
}

}  // namespace
}  // namespace turnpike
