#include "registry/compiler/onnx/wire.h"

namespace edgefleet::compiler {
namespace {

// Where weights may sit, by the field numbers of onnx-ml.proto: ModelProto.{graph, functions} -> GraphProto.{node, initializer}
// -> NodeProto.attribute -> AttributeProto.{t, g, tensors, graphs} -> TensorProto.
enum class Kind { kModel, kGraph, kFunction, kNode, kAttribute, kTensor, kPayload, kPacked, kOther };

constexpr int kDepthMax = 64;  // of messages; weights below count as structure

Kind ChildOf(Kind parent, std::uint64_t field) {
  switch (parent) {
    case Kind::kModel:
      return field == 7 ? Kind::kGraph : field == 25 ? Kind::kFunction : Kind::kOther;
    case Kind::kGraph:
      return field == 1 ? Kind::kNode : field == 5 ? Kind::kTensor : Kind::kOther;
    case Kind::kFunction:
      return field == 7 ? Kind::kNode : Kind::kOther;
    case Kind::kNode:
      return field == 5 ? Kind::kAttribute : Kind::kOther;
    case Kind::kAttribute:
      if (field == 5 || field == 10) return Kind::kTensor;
      return field == 6 || field == 11 ? Kind::kGraph : Kind::kOther;
    case Kind::kTensor:
      if (field == 9 || field == 4 || field == 10) return Kind::kPayload;             // raw_data, float_data, double_data
      return field == 5 || field == 7 || field == 11 ? Kind::kPacked : Kind::kOther;  // int32_data, int64_data, uint64_data
    case Kind::kPayload:
    case Kind::kPacked:
    case Kind::kOther:
      break;
  }
  return Kind::kOther;
}

std::optional<std::uint64_t> TakeVarint(ByteView& bytes) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (bytes.empty()) return std::nullopt;
    const auto byte = std::to_integer<std::uint64_t>(bytes.front());
    bytes = bytes.subspan(1);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

// Takes the value of one field off `bytes`; the content of a length-delimited one goes to `content`.
bool TakeValue(ByteView& bytes, std::uint64_t wire_type, ByteView& content) {
  std::uint64_t size = 0;
  switch (wire_type) {
    case 0:
      return TakeVarint(bytes).has_value();
    case 1:
      size = 8;
      break;
    case 2: {
      const auto length = TakeVarint(bytes);
      if (!length) return false;
      size = *length;
      break;
    }
    case 5:
      size = 4;
      break;
    default:
      return false;  // groups: proto2 only, never in ONNX
  }
  if (size > bytes.size()) return false;
  content = bytes.first(size);
  bytes = bytes.subspan(size);
  return true;
}

// Bytes of payload below `bytes`.
std::optional<std::uint64_t> PayloadBytes(ByteView bytes, Kind kind, int depth) {
  std::uint64_t payload = 0;
  while (!bytes.empty()) {
    const auto tag = TakeVarint(bytes);
    ByteView content;
    if (!tag || !TakeValue(bytes, *tag & 7, content)) return std::nullopt;
    if ((*tag & 7) != 2) continue;
    const Kind child = ChildOf(kind, *tag >> 3);
    if (child == Kind::kPayload) {
      payload += content.size();
    } else if (child == Kind::kPacked) {
      payload += content.size() - content.size() / 16;  // a byte becomes up to eight
    } else if (child != Kind::kOther && depth < kDepthMax) {
      const auto below = PayloadBytes(content, child, depth + 1);
      if (!below) return std::nullopt;
      payload += *below;
    }
  }
  return payload;
}

}  // namespace

std::optional<std::uint64_t> OnnxStructureBytes(ByteView model) {
  const auto payload = PayloadBytes(model, Kind::kModel, 0);
  if (!payload) return std::nullopt;
  return model.size() - *payload;
}

}  // namespace edgefleet::compiler
