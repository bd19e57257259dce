#include "load_tests/runtime/ort/session.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "load_tests/runtime/ort/api.h"

namespace edgefleet::load_tests {
namespace {

constexpr int kSequential = 0;         // ORT_SEQUENTIAL
constexpr int kAllOptimizations = 99;  // ORT_ENABLE_ALL
constexpr int kArenaAllocator = 1;     // OrtArenaAllocator
constexpr int kDefaultMemory = 0;      // OrtMemTypeDefault

template <const auto& release>
struct Releaser {
  template <typename T>
  void operator()(T* object) const {
    release(object);
  }
};
template <typename T, const auto& release>
using Owned = std::unique_ptr<T, Releaser<release>>;
using OwnedOptions = Owned<ort::Options, ort::ReleaseSessionOptions>;
using OwnedSession = Owned<ort::Session, ort::ReleaseSession>;
using OwnedMemoryInfo = Owned<ort::MemoryInfo, ort::ReleaseMemoryInfo>;
using OwnedValue = Owned<ort::Value, ort::ReleaseValue>;
using OwnedTypeInfo = Owned<ort::TypeInfo, ort::ReleaseTypeInfo>;
using OwnedTensorInfo = Owned<ort::TensorInfo, ort::ReleaseTensorInfo>;

// Calls a function whose last parameter is where the new object goes.
template <typename OwnedT, typename Function, typename... Args>
Result<OwnedT> Make(const Function& function, Args... args) {
  typename OwnedT::pointer object = nullptr;
  EF_RETURN_IF_ERROR(ort::Check(function(args..., &object)));
  return OwnedT(object);
}

// ONNX's TensorProto.DataType.
constexpr std::pair<int, arrays::ElementType> kTypes[] = {
    {1, arrays::ElementType::kFloat32},  {2, arrays::ElementType::kUint8},   {3, arrays::ElementType::kInt8},
    {4, arrays::ElementType::kUint16},   {5, arrays::ElementType::kInt16},   {6, arrays::ElementType::kInt32},
    {7, arrays::ElementType::kInt64},    {9, arrays::ElementType::kBool},    {10, arrays::ElementType::kFloat16},
    {11, arrays::ElementType::kFloat64}, {12, arrays::ElementType::kUint32}, {13, arrays::ElementType::kUint64},
};

Result<arrays::ElementType> TypeOf(int onnx_type) {
  const auto* found = std::ranges::find(kTypes, onnx_type, &std::pair<int, arrays::ElementType>::first);
  if (found != std::end(kTypes)) return found->second;
  return Unimplemented("ORT_TYPE", "tensors of ONNX's element type " + std::to_string(onnx_type) + " are not bound");
}

int OnnxTypeOf(arrays::ElementType type) {
  return std::ranges::find(kTypes, type, &std::pair<int, arrays::ElementType>::second)->first;
}

Result<arrays::ArrayInfo> Read(const ort::TensorInfo* info) {
  int type = 0;
  std::size_t dimensions = 0;
  EF_RETURN_IF_ERROR(ort::Check(ort::GetTensorElementType(info, &type)));
  EF_RETURN_IF_ERROR(ort::Check(ort::GetDimensionsCount(info, &dimensions)));
  arrays::ArrayInfo result;
  EF_ASSIGN_OR_RETURN(result.type, TypeOf(type));
  result.shape.resize(dimensions);
  EF_RETURN_IF_ERROR(ort::Check(ort::GetDimensions(info, result.shape.data(), dimensions)));
  return result;
}

template <typename GetName, typename GetTypeInfo>
Result<OrtPort> ReadPort(const ort::Session* session, std::size_t index, const GetName& get_name,
                         const GetTypeInfo& get_type_info) {
  ort::Allocator* allocator = nullptr;
  EF_RETURN_IF_ERROR(ort::Check(ort::GetAllocatorWithDefaultOptions(&allocator)));
  char* name = nullptr;
  EF_RETURN_IF_ERROR(ort::Check(get_name(session, index, allocator, &name)));
  OrtPort port{.name = name};
  EF_RETURN_IF_ERROR(ort::Check(ort::AllocatorFree(allocator, name)));
  EF_ASSIGN_OR_RETURN(const OwnedTypeInfo type_info, Make<OwnedTypeInfo>(get_type_info, session, index));
  const ort::TensorInfo* tensor_info = nullptr;  // belongs to type_info
  EF_RETURN_IF_ERROR(ort::Check(ort::CastTypeInfoToTensorInfo(type_info.get(), &tensor_info)));
  if (tensor_info == nullptr) return Unimplemented("ORT_TYPE", "'" + port.name + "' is no tensor");
  EF_ASSIGN_OR_RETURN(arrays::ArrayInfo read, Read(tensor_info));
  port.type = read.type;
  port.shape = std::move(read.shape);
  return port;
}

template <typename GetCount, typename GetName, typename GetTypeInfo>
Result<std::vector<OrtPort>> ReadPorts(const ort::Session* session, const GetCount& get_count, const GetName& get_name,
                                       const GetTypeInfo& get_type_info) {
  std::size_t count = 0;
  EF_RETURN_IF_ERROR(ort::Check(get_count(session, &count)));
  std::vector<OrtPort> ports;
  for (std::size_t i = 0; i < count; ++i) {
    EF_ASSIGN_OR_RETURN(OrtPort port, ReadPort(session, i, get_name, get_type_info));
    ports.push_back(std::move(port));
  }
  return ports;
}

std::vector<const char*> Names(const std::vector<OrtPort>& ports) {
  std::vector<const char*> names;
  for (const OrtPort& port : ports) names.push_back(port.name.c_str());
  return names;
}

}  // namespace

struct OrtSession::State {
  OwnedSession session;
  std::vector<OrtPort> inputs, outputs;
};

struct OrtRun::State {
  ort::Session* session = nullptr;
  std::vector<const char*> input_names, output_names;
  std::vector<arrays::Array> tensors;  // the inputs' memory
  std::vector<OwnedValue> inputs;
  std::vector<ort::Value*> input_values, output_values;
  ~State() {
    for (ort::Value* value : output_values) {
      if (value != nullptr) ort::ReleaseValue(value);
    }
  }
};

OrtRun::OrtRun(std::unique_ptr<State> state) : state_(std::move(state)) {}
OrtRun::~OrtRun() = default;
OrtRun::OrtRun(OrtRun&&) noexcept = default;
OrtRun& OrtRun::operator=(OrtRun&&) noexcept = default;

Status OrtRun::operator()() {
  return ort::Check(ort::Run(state_->session, nullptr, state_->input_names.data(), state_->input_values.data(),
                             state_->input_values.size(), state_->output_names.data(), state_->output_values.size(),
                             state_->output_values.data()));
}

Result<std::vector<arrays::Array>> OrtRun::Outputs() const {
  std::vector<arrays::Array> outputs;
  for (ort::Value* value : state_->output_values) {
    if (value == nullptr) return FailedPrecondition("ORT_NOT_RUN", "run the model before its outputs are read");
    EF_ASSIGN_OR_RETURN(const OwnedTensorInfo info, Make<OwnedTensorInfo>(ort::GetTensorTypeAndShape, value));
    EF_ASSIGN_OR_RETURN(arrays::ArrayInfo read, Read(info.get()));
    void* data = nullptr;
    EF_RETURN_IF_ERROR(ort::Check(ort::GetTensorMutableData(value, &data)));
    EF_ASSIGN_OR_RETURN(const std::uint64_t size, arrays::ByteCount(read));
    const ByteView bytes(static_cast<const std::byte*>(data), size);
    outputs.push_back({read.type, std::move(read.shape), ToBytes(bytes)});
  }
  return outputs;
}

OrtSession::OrtSession(std::unique_ptr<State> state) : state_(std::move(state)) {}
OrtSession::~OrtSession() = default;
OrtSession::OrtSession(OrtSession&&) noexcept = default;
OrtSession& OrtSession::operator=(OrtSession&&) noexcept = default;
const std::vector<OrtPort>& OrtSession::inputs() const { return state_->inputs; }
const std::vector<OrtPort>& OrtSession::outputs() const { return state_->outputs; }

Result<OrtSession> OrtSession::Load(ByteView model) {
  EF_RETURN_IF_ERROR(ort::OpenLibrary());
  EF_ASSIGN_OR_RETURN(const OwnedOptions options, Make<OwnedOptions>(ort::CreateSessionOptions));
  EF_RETURN_IF_ERROR(ort::Check(ort::SetIntraOpNumThreads(options.get(), 1)));
  EF_RETURN_IF_ERROR(ort::Check(ort::SetInterOpNumThreads(options.get(), 1)));
  EF_RETURN_IF_ERROR(ort::Check(ort::SetSessionExecutionMode(options.get(), kSequential)));
  EF_RETURN_IF_ERROR(ort::Check(ort::SetSessionGraphOptimizationLevel(options.get(), kAllOptimizations)));
  auto state = std::make_unique<State>();
  EF_ASSIGN_OR_RETURN(state->session, Make<OwnedSession>(ort::CreateSessionFromArray, ort::GlobalEnv(),
                                                         static_cast<const void*>(model.data()), model.size(), options.get()));
  const ort::Session* session = state->session.get();
  EF_ASSIGN_OR_RETURN(state->inputs,
                      ReadPorts(session, ort::SessionGetInputCount, ort::SessionGetInputName, ort::SessionGetInputTypeInfo));
  EF_ASSIGN_OR_RETURN(state->outputs,
                      ReadPorts(session, ort::SessionGetOutputCount, ort::SessionGetOutputName, ort::SessionGetOutputTypeInfo));
  return OrtSession(std::move(state));
}

Result<OrtRun> OrtSession::Prepare(std::vector<arrays::Array> inputs) const {
  if (inputs.size() != state_->inputs.size()) {
    return InvalidArgument("ORT_INPUT", "the model takes " + std::to_string(state_->inputs.size()) + " inputs");
  }
  auto run = std::make_unique<OrtRun::State>();
  run->session = state_->session.get();
  run->input_names = Names(state_->inputs);
  run->output_names = Names(state_->outputs);
  run->output_values.resize(state_->outputs.size());
  run->tensors = std::move(inputs);
  EF_ASSIGN_OR_RETURN(const OwnedMemoryInfo memory,
                      Make<OwnedMemoryInfo>(ort::CreateCpuMemoryInfo, kArenaAllocator, kDefaultMemory));
  for (arrays::Array& tensor : run->tensors) {
    EF_ASSIGN_OR_RETURN(const std::uint64_t size, arrays::ByteCount(tensor.info()));
    if (tensor.data.size() != size) {
      return InvalidArgument("ORT_INPUT", "an input's bytes do not fill its shape");
    }
    EF_ASSIGN_OR_RETURN(
        OwnedValue value,
        Make<OwnedValue>(ort::CreateTensorWithDataAsOrtValue, static_cast<const ort::MemoryInfo*>(memory.get()),
                         static_cast<void*>(tensor.data.data()), tensor.data.size(),
                         static_cast<const std::int64_t*>(tensor.shape.data()), tensor.shape.size(), OnnxTypeOf(tensor.type)));
    run->input_values.push_back(value.get());
    run->inputs.push_back(std::move(value));
  }
  return OrtRun(std::move(run));
}

Result<std::vector<arrays::Array>> OrtSession::Run(std::vector<arrays::Array> inputs) const {
  EF_ASSIGN_OR_RETURN(OrtRun run, Prepare(std::move(inputs)));
  EF_RETURN_IF_ERROR(run());
  return run.Outputs();
}

}  // namespace edgefleet::load_tests
