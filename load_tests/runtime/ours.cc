#include "load_tests/runtime/ours.h"

#include "base/arrays/npz.h"
#include "device_client/runtime/format/efm.h"
#include "registry/compiler/compiler.h"

namespace edgefleet::load_tests {

Result<std::map<std::string, Bytes>> CompileVariants(const std::string& name, ByteView onnx, const NamedArrays& calibration) {
  Bytes npz;
  if (!calibration.empty()) {
    EF_ASSIGN_OR_RETURN(npz, arrays::WriteNpz(calibration, arrays::Packing::kStored));
  }
  EF_ASSIGN_OR_RETURN(compiler::CompileOutput output, compiler::Compile({.name = name, .onnx = onnx, .calibration = npz}));
  std::map<std::string, Bytes> variants;
  for (compiler::Variant& variant : output.variants) variants[variant.precision] = std::move(variant.efm);
  return variants;
}

Result<OurRun> OurRun::Create(Bytes efm, const NamedArrays& inputs) {
  EF_ASSIGN_OR_RETURN(runtime::Graph graph, runtime::LoadEfm(std::move(efm)));
  OurRun run;
  runtime::SessionOptions options;
  for (const runtime::TensorId id : graph.inputs) {
    const std::string& name = graph.tensor(id).name;
    const auto input = inputs.find(name);
    if (input == inputs.end()) return InvalidArgument("BAD_INPUT", "the graph also takes '" + name + "'");
    if (run.inputs_.empty() && !input->second.shape.empty()) options.batch = input->second.shape.front();
    run.inputs_.push_back(input->second.data);
  }
  EF_ASSIGN_OR_RETURN(run.session_,
                      runtime::Session::Create(std::make_shared<const runtime::Graph>(std::move(graph)), options));
  const runtime::Graph& shared = run.session_->graph();
  for (const runtime::TensorId id : shared.outputs) {
    const runtime::Tensor& tensor = shared.tensor(id);
    const auto count = static_cast<std::size_t>(runtime::ElementCount(tensor.shape) * options.batch);
    run.outputs_.emplace_back(count * runtime::SizeOf(tensor.type));
  }
  for (const Bytes& bytes : run.inputs_) run.input_views_.emplace_back(bytes);
  for (Bytes& bytes : run.outputs_) run.output_views_.emplace_back(bytes);
  return run;
}

Status OurRun::operator()() { return session_->Run(input_views_, output_views_); }

}  // namespace edgefleet::load_tests
