// Every model of ONNX's test suite passes, or is refused for a reason that docs/operators.md gives.
#include "tests/compiler/onnx_conformance.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string_view>

namespace edgefleet::compiler {
namespace {

const std::vector<ConformanceResult>& Results() {
  static const std::vector<ConformanceResult> results = RunConformance("/usr/share/libonnx-testdata/data");
  return results;
}

TEST(OnnxConformance, EveryModelPassesOrIsRefused) {
  ASSERT_GT(Results().size(), 1'000U) << "install libonnx-testdata";
  for (const ConformanceResult& result : Results()) {
    EXPECT_NE(result.outcome, ConformanceResult::Outcome::kFailed) << result.name << ": " << result.message;
    if (result.outcome == ConformanceResult::Outcome::kRefused) {
      EXPECT_THAT(result.message, ::testing::AnyOf(::testing::HasSubstr("node '"), ::testing::HasSubstr("input '")))
          << result.name;
      EXPECT_NE(result.category, "other") << result.name << ": " << result.message;
    }
  }
}

TEST(OnnxConformance, ThePublishedListIsWhatIsFound) {
  std::ifstream file(EDGEFLEET_OPERATORS_MD);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(text.str() == WriteOperatorList(Results()))
      << "docs/operators.md differs; write it anew with onnx_conformance_test --list";
}

}  // namespace
}  // namespace edgefleet::compiler

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--list") {
    std::fputs(edgefleet::compiler::WriteOperatorList(edgefleet::compiler::Results()).c_str(), stdout);
    return 0;
  }
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
