// Constants of an ONNX file. Internal to the importer.
#pragma once

#include <onnx/onnx_pb.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "registry/compiler/onnx/import.h"

namespace edgefleet::compiler {

// The type in the graph of ONNX's `type`. INVALID_ARGUMENT [UNSUPPORTED_OPERATOR] for strings, complex numbers and the like.
Result<runtime::DataType> GraphType(int type);

// Values in the graph's type. `bytes` views the TensorProto or a mapped file, or `owned`.
struct TensorValue {
  runtime::DataType type = runtime::DataType::kFloat32;
  std::vector<std::int64_t> shape;
  ByteView bytes;
  std::shared_ptr<const Bytes> owned;
  std::shared_ptr<const MappedFile> mapped;
};

// Files of a model's external data.
class ExternalData {
 public:
  explicit ExternalData(std::filesystem::path folder) : folder_(std::move(folder)) {}
  // INVALID_ARGUMENT [EXTERNAL_DATA] for locations outside the folder (links are followed first) and extents outside the file.
  Result<ByteView> Find(const onnx::TensorProto& tensor, std::size_t bytes, std::shared_ptr<const MappedFile>& file);

 private:
  std::filesystem::path folder_;
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
};

// INVALID_ARGUMENT [BAD_ONNX | UNSUPPORTED_OPERATOR | EXTERNAL_DATA | TOO_LARGE]. Values that their type in the graph cannot
// hold are BAD_ONNX.
Result<TensorValue> ReadTensor(const onnx::TensorProto& tensor, const ImportLimits& limits, ExternalData& external);

}  // namespace edgefleet::compiler
