// ONNX Runtime's C API without its header: the library is opened at run time and its function table is read by position. Slots
// 0 to 101 are those of API version 1; onnxruntime_c_api.cc (v1.30) declares them frozen. For benches and tests only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace edgefleet::load_tests::ort {

struct ApiStatus;  // null: success
struct Env;
struct Options;
struct Session;
struct MemoryInfo;
struct Allocator;
struct Value;
struct TypeInfo;
struct TensorInfo;

// A function of the table: its position and its C signature.
template <std::size_t position, typename Function>
struct Slot;
template <std::size_t position, typename R, typename... Args>
struct Slot<position, R(Args...)> {
  R operator()(Args... args) const;
};

inline constexpr Slot<2, const char*(const ApiStatus*)> GetErrorMessage;
inline constexpr Slot<3, ApiStatus*(int severity, const char* name, Env**)> CreateEnv;
inline constexpr Slot<8, ApiStatus*(const Env*, const void* model, std::size_t size, const Options*, Session**)>
    CreateSessionFromArray;
inline constexpr Slot<9, ApiStatus*(Session*, const void* run_options, const char* const* input_names,
                                    const Value* const* inputs, std::size_t input_count, const char* const* output_names,
                                    std::size_t output_count, Value** outputs)>
    Run;
inline constexpr Slot<10, ApiStatus*(Options**)> CreateSessionOptions;
inline constexpr Slot<13, ApiStatus*(Options*, int mode)> SetSessionExecutionMode;
inline constexpr Slot<23, ApiStatus*(Options*, int level)> SetSessionGraphOptimizationLevel;
inline constexpr Slot<24, ApiStatus*(Options*, int threads)> SetIntraOpNumThreads;
inline constexpr Slot<25, ApiStatus*(Options*, int threads)> SetInterOpNumThreads;
inline constexpr Slot<30, ApiStatus*(const Session*, std::size_t*)> SessionGetInputCount;
inline constexpr Slot<31, ApiStatus*(const Session*, std::size_t*)> SessionGetOutputCount;
inline constexpr Slot<33, ApiStatus*(const Session*, std::size_t index, TypeInfo**)> SessionGetInputTypeInfo;
inline constexpr Slot<34, ApiStatus*(const Session*, std::size_t index, TypeInfo**)> SessionGetOutputTypeInfo;
inline constexpr Slot<36, ApiStatus*(const Session*, std::size_t index, Allocator*, char**)> SessionGetInputName;
inline constexpr Slot<37, ApiStatus*(const Session*, std::size_t index, Allocator*, char**)> SessionGetOutputName;
inline constexpr Slot<49, ApiStatus*(const MemoryInfo*, void* data, std::size_t bytes, const std::int64_t* shape,
                                     std::size_t dimensions, int type, Value**)>
    CreateTensorWithDataAsOrtValue;
inline constexpr Slot<51, ApiStatus*(Value*, void**)> GetTensorMutableData;
inline constexpr Slot<55, ApiStatus*(const TypeInfo*, const TensorInfo**)> CastTypeInfoToTensorInfo;
inline constexpr Slot<60, ApiStatus*(const TensorInfo*, int*)> GetTensorElementType;
inline constexpr Slot<61, ApiStatus*(const TensorInfo*, std::size_t*)> GetDimensionsCount;
inline constexpr Slot<62, ApiStatus*(const TensorInfo*, std::int64_t*, std::size_t)> GetDimensions;
inline constexpr Slot<65, ApiStatus*(const Value*, TensorInfo**)> GetTensorTypeAndShape;
inline constexpr Slot<69, ApiStatus*(int allocator, int memory, MemoryInfo**)> CreateCpuMemoryInfo;
inline constexpr Slot<76, ApiStatus*(Allocator*, void*)> AllocatorFree;
inline constexpr Slot<78, ApiStatus*(Allocator**)> GetAllocatorWithDefaultOptions;
inline constexpr Slot<93, void(ApiStatus*)> ReleaseStatus;
inline constexpr Slot<94, void(MemoryInfo*)> ReleaseMemoryInfo;
inline constexpr Slot<95, void(Session*)> ReleaseSession;
inline constexpr Slot<96, void(Value*)> ReleaseValue;
inline constexpr Slot<98, void(TypeInfo*)> ReleaseTypeInfo;
inline constexpr Slot<99, void(TensorInfo*)> ReleaseTensorInfo;
inline constexpr Slot<100, void(Options*)> ReleaseSessionOptions;

// Opens the library of the npm packages (npm_packages.h) once a process; later calls give the first one's answer. Every other
// name of this header needs its success. NOT_FOUND [NPM_PACKAGES_MISSING], INTERNAL [ORT_UNUSABLE].
Status OpenLibrary();

// The process's environment, which lives as long as it does. Needs OpenLibrary().
const Env* GlobalEnv();

// Turns what a call returned into a Status, INTERNAL [ORT_FAILED] with ONNX Runtime's words, and releases it.
Status Check(ApiStatus* status);

// The table, once OpenLibrary() succeeded.
const void* const* Table();

template <std::size_t position, typename R, typename... Args>
R Slot<position, R(Args...)>::operator()(Args... args) const {
  static_assert(position <= 101, "later slots are not frozen");
  return reinterpret_cast<R (*)(Args...)>(const_cast<void*>(Table()[position]))(args...);
}

}  // namespace edgefleet::load_tests::ort
