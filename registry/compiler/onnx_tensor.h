// Constants of an ONNX file. Internal to the importer.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "registry/compiler/onnx_import.h"

namespace edgefleet::compiler {

// Floats hold FLOAT data, integers INT64, INT32 and BOOL; the other stays empty.
struct OnnxConstant {
  std::vector<std::int64_t> shape;
  std::vector<float> floats;
  std::vector<std::int64_t> integers;
};

// Dimensions, location and size of the data, without unpacking it.
Status CheckTensor(const onnx::TensorProto& tensor, const OnnxLimits& limits);

// The constant's values; floats are finite. The tensor has passed CheckTensor.
Result<OnnxConstant> ReadTensor(const onnx::TensorProto& tensor);

}  // namespace edgefleet::compiler
