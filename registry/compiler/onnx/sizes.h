// The dimensions of a model's inputs: what the file says and what the options add. Internal.
#pragma once

#include <onnx/onnx_pb.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "registry/compiler/onnx/import.h"

namespace edgefleet::compiler {

class InputSizes {
 public:
  // INVALID_ARGUMENT [BAD_SHAPE] for options that do not fit the inputs. `fixed_batch`: a symbolic batch is 1. `open_default`:
  // of symbolic dimensions that nothing gives a size; 0 if they are an error.
  static Result<InputSizes> Read(const std::vector<const onnx::ValueInfoProto*>& inputs, const std::vector<InputShape>& given,
                                 bool fixed_batch, std::int64_t open_default);

  struct Size {
    std::int64_t value = 1;  // the default
    std::int64_t min = 1;
    std::int64_t max = 1;
    std::string symbol;  // empty: fixed
  };
  // INVALID_ARGUMENT [SIZE_MISSING] for a symbolic dimension that nothing gives a size.
  Result<std::vector<Size>> Of(const onnx::ValueInfoProto& input) const;

 private:
  const InputShape* Given(const std::string& name) const;
  Result<Size> SizeOf(const onnx::ValueInfoProto& input, int axis, int rank) const;

  std::vector<InputShape> given_;
  std::map<std::string, InputShape::Dimension> by_symbol_;
  std::set<std::string> batch_symbols_;
  bool fixed_batch_ = false;
  std::int64_t open_default_ = 0;
};

}  // namespace edgefleet::compiler
