#include "load_tests/runtime/ours.h"

#include <algorithm>

#include "base/arrays/npz.h"
#include "device_client/runtime/format/efm.h"
#include "registry/compiler/compiler.h"
#include "registry/compiler/onnx/import.h"
#include "registry/compiler/optimize/optimize.h"

namespace edgefleet::load_tests {

Result<runtime::Graph> CompileAsIs(ByteView onnx, const NamedArrays* inputs) {
  compiler::ImportOptions options;
  if (inputs != nullptr) {
    for (const auto& [name, array] : *inputs) {
      compiler::InputShape& shape = options.shapes.emplace_back();
      shape.name = name;
      for (const std::int64_t dimension : array.shape) shape.dimensions.push_back({dimension, dimension});
    }
  }
  EF_ASSIGN_OR_RETURN(runtime::Graph graph, compiler::ImportOnnx(onnx, options));
  EF_RETURN_IF_ERROR(compiler::Optimize(graph));
  EF_ASSIGN_OR_RETURN(Bytes efm, runtime::WriteEfm(graph));
  return runtime::LoadEfm(std::move(efm));
}

Result<runtime::Graph> CompileInt8(const std::string& name, ByteView onnx, const NamedArrays& calibration) {
  EF_ASSIGN_OR_RETURN(const Bytes npz, arrays::WriteNpz(calibration, arrays::Packing::kStored));
  EF_ASSIGN_OR_RETURN(compiler::CompileOutput output, compiler::Compile({.name = name, .onnx = onnx, .calibration = npz}));
  const auto int8 = std::ranges::find(output.variants, "int8", &compiler::Variant::precision);
  if (int8 == output.variants.end()) return Internal("NO_INT8", "the compiler made no int8 variant");
  return runtime::LoadEfm(std::move(int8->efm));
}

Result<std::size_t> FileSize(const runtime::Graph& graph) {
  EF_ASSIGN_OR_RETURN(const Bytes efm, runtime::WriteEfm(graph));
  return efm.size();
}

Result<OurRun> OurRun::Create(runtime::Graph graph, const NamedArrays& inputs, const std::string& delegate) {
  OurRun run;
  runtime::SessionOptions options{.delegate = delegate};
  for (const runtime::TensorId id : graph.inputs) {
    const std::string& name = graph.tensor(id).name;
    const auto input = inputs.find(name);
    if (input == inputs.end()) return InvalidArgument("BAD_INPUT", "the graph also takes '" + name + "'");
    run.inputs_.push_back(input->second.data);
    const bool open_batch = runtime::BatchMax(graph) > 1 && id == graph.inputs.front();
    if (open_batch) options.batch = input->second.shape.front();
  }
  EF_ASSIGN_OR_RETURN(run.session_,
                      runtime::Session::Create(std::make_shared<const runtime::Graph>(std::move(graph)), options));
  for (const runtime::TensorId id : run.session_->graph().outputs) {
    const auto count = static_cast<std::size_t>(runtime::ElementCount(run.session_->shape(id)));
    run.outputs_.emplace_back(count * runtime::SizeOf(run.session_->graph().tensor(id).type));
  }
  for (const Bytes& bytes : run.inputs_) run.input_views_.emplace_back(bytes);
  for (Bytes& bytes : run.outputs_) run.output_views_.emplace_back(bytes);
  return run;
}

Status OurRun::operator()() { return session_->Run(input_views_, output_views_); }

}  // namespace edgefleet::load_tests
