// Tests that compare with ONNX Runtime. Without its package they say so and are skipped; tests/peers/CMakeLists.txt has ctest
// report that.
#pragma once

#include <gtest/gtest.h>

#include "load_tests/runtime/ort/api.h"

namespace edgefleet::tests {

class PeerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status status = load_tests::ort::OpenLibrary();
    if (status.reason() == "NPM_PACKAGES_MISSING") GTEST_SKIP() << status.ToString();
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
};

}  // namespace edgefleet::tests
