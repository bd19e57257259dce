// A look at an ONNX file's protobuf encoding before protobuf unpacks it.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace edgefleet::compiler {

// Bytes of the file that are not the contents of weights, or nothing if the encoding is malformed. A message of two bytes costs
// protobuf some two hundred bytes of memory, so this number, not the file's size, bounds what parsing may take.
std::optional<std::uint64_t> OnnxStructureBytes(ByteView model);

}  // namespace edgefleet::compiler
