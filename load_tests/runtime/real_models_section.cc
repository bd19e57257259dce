#include <memory>

#include "load_tests/runtime/agreement.h"
#include "load_tests/runtime/contest.h"
#include "load_tests/runtime/ours.h"
#include "load_tests/runtime/real_models.h"
#include "load_tests/runtime/section.h"

namespace edgefleet::load_tests {
namespace {

using nlohmann::json;

constexpr double kErrorMax = 1e-4;

Result<OurRun> MakeOurs(const RealModel& model, ByteView onnx) {
  const NamedArrays inputs = InputsOf(model);
  EF_ASSIGN_OR_RETURN(runtime::Graph graph, CompileAsIs(onnx, &inputs));
  return OurRun::Create(std::move(graph), inputs);
}

void AddModel(const BenchSize& size, const RealModel& model, json& rows) {
  const Bytes onnx = Must(ReadModel(model));
  const OrtSession session = Must(OrtSession::Load(onnx));
  OrtRun peer = Must(session.Prepare(Must(InputsFor(model, session))));
  std::vector<std::function<void()>> tasks{[&] { Must(peer()); }};
  auto ours = MakeOurs(model, onnx);
  if (ours) tasks.emplace_back([&] { Must((*ours)()); });
  const Contest contest(size, tasks);
  rows.push_back(Row(model.name + ", ONNX Runtime fp32", contest.Median(0) * 1e3, "ms"));
  if (!ours) {
    rows.push_back(Note(model.name, "not compiled: " + ours.error().ToString()));
    return;
  }
  rows.push_back(Row(model.name + ", edgefleet fp32", contest.Median(1) * 1e3, "ms"));
  rows.push_back(Row(model.name + ", edgefleet / ONNX Runtime", contest.Ratio(1, 0), "of the time"));
  const auto error = LargestError(Must(peer.Outputs()), ours->outputs());
  if (error) {
    rows.push_back(RowAtMost(size, model.name + ", largest relative error", *error, "", kErrorMax));
  } else {
    rows.push_back(Note(model.name, error.error().ToString()));
  }
}

}  // namespace

json RealModelsSection(const BenchSize& size) {
  json rows = json::array();
  for (const RealModel& model : RealModels()) AddModel(size, model, rows);
  return rows;
}

}  // namespace edgefleet::load_tests
