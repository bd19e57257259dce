// Models that people ship, imported, optimized, written, loaded and run, beside what ONNX Runtime computes from the same files.
#include "load_tests/runtime/real_models.h"

#include <gtest/gtest.h>

#include <ostream>

#include "load_tests/runtime/agreement.h"
#include "load_tests/runtime/ours.h"
#include "tests/support/peers.h"

namespace edgefleet::load_tests {

void PrintTo(const RealModel& model, std::ostream* out) { *out << model.package << '/' << model.file; }

}  // namespace edgefleet::load_tests

namespace edgefleet::compiler {
namespace {

using load_tests::RealModel;

constexpr double kErrorMax = 1e-4;

Result<double> ErrorOf(const RealModel& model, const runtime::Graph& graph, const std::string& delegate,
                       const std::vector<arrays::Array>& reference) {
  EF_ASSIGN_OR_RETURN(load_tests::OurRun run, load_tests::OurRun::Create(graph, load_tests::InputsOf(model), delegate));
  EF_RETURN_IF_ERROR(run());
  return load_tests::LargestError(reference, run.outputs());
}

class RealModels : public tests::PeerTest, public ::testing::WithParamInterface<RealModel> {};

TEST_P(RealModels, AgreeWithOnnxRuntime) {
  if (IsSkipped()) return;
  const auto onnx = load_tests::ReadModel(GetParam());
  ASSERT_TRUE(onnx) << onnx.error().ToString();
  const auto session = load_tests::OrtSession::Load(*onnx);
  ASSERT_TRUE(session) << session.error().ToString();
  auto inputs = load_tests::InputsFor(GetParam(), *session);
  ASSERT_TRUE(inputs) << inputs.error().ToString();
  const auto reference = session->Run(std::move(*inputs));
  ASSERT_TRUE(reference) << reference.error().ToString();

  const load_tests::NamedArrays sizes = load_tests::InputsOf(GetParam());
  const auto graph = load_tests::CompileAsIs(*onnx, &sizes);
  ASSERT_TRUE(graph) << graph.error().ToString();
  for (const char* delegate : {"reference", "onednn"}) {
    SCOPED_TRACE(delegate);
    const auto error = ErrorOf(GetParam(), *graph, delegate, *reference);
    ASSERT_TRUE(error) << error.error().ToString();
    EXPECT_LE(*error, kErrorMax);
  }
}

std::string TestName(const ::testing::TestParamInfo<RealModel>& info) {
  std::string name = info.param.name;
  for (char& letter : name) letter = std::isalnum(static_cast<unsigned char>(letter)) != 0 ? letter : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, RealModels, ::testing::ValuesIn(load_tests::RealModels()), TestName);

}  // namespace
}  // namespace edgefleet::compiler
