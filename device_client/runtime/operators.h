// The operators of a graph: their attributes, inputs and outputs. Semantics follow the ONNX operator of the same name (opset
// 18) where nothing else is said; `x?` is an optional input. How each one's output types and shapes follow from its inputs, and
// what it computes, is in ops/.
//
// Every operator is a plain struct with `kName` and a static Fields(op, visit) that calls visit(name, field) for each
// attribute: files, reports and comparisons are generic over it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

namespace edgefleet::runtime {

enum class DataType : std::uint8_t {
  kFloat32 = 0,
  kInt8 = 1,
  kInt32 = 2,
  kFloat16 = 3,  // constants only
  kBFloat16 = 4,
  kUint8 = 5,
  kInt64 = 6,
  kBool = 7,  // a byte, 0 or 1
  kInt4 = 8,  // constants only
};
inline constexpr int kDataTypes = 9;

// Of one value. `alpha` and `beta` mean what is said here and are 0 elsewhere.
enum class UnaryKind : std::uint8_t {
  kIdentity = 0,
  kRelu,
  kClip,             // min alpha, max beta
  kLeakyRelu,        // slope alpha
  kElu,              // alpha
  kSelu,             // alpha, gamma beta
  kCelu,             // alpha
  kThresholdedRelu,  // alpha
  kSigmoid,
  kHardSigmoid,  // alpha * x + beta
  kHardSwish,
  kSwish,  // x * sigmoid(alpha * x)
  kTanh,
  kGelu,      // exact, by erf
  kGeluTanh,  // the tanh approximation
  kMish,
  kSoftplus,
  kSoftsign,
  kErf,
  kExp,
  kLog,
  kSqrt,
  kReciprocal,
  kAbs,
  kNeg,
  kSign,
  kFloor,
  kCeil,
  kRound,  // half to even
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kNot,    // bool
  kIsNan,  // to bool
  kIsInf,  // to bool; negative ones count if alpha is not 0, positive ones if beta is not 0
  kBitwiseNot,
};
inline constexpr int kUnaryKinds = 44;

// What a weighted or binary operator applies to its result. In int8: kIdentity, kRelu and kClip only.
struct Activation {
  UnaryKind kind = UnaryKind::kIdentity;
  float alpha = 0;
  float beta = 0;

  bool operator==(const Activation&) const = default;
};

// ---- weighted

// Spatial attributes are {height, width}; pads are {top, left, bottom, right}. Activations are [N, C, H, W].
// Inputs: x, weights [O, C / groups, KH, KW], bias? [O]. A 1-D convolution has H = 1.
struct Conv2d {
  std::array<std::int32_t, 2> strides{1, 1};
  std::array<std::int32_t, 4> pads{0, 0, 0, 0};
  std::array<std::int32_t, 2> dilations{1, 1};
  std::int32_t groups = 1;
  Activation activation;

  static constexpr std::string_view kName = "Conv2d";
  static void Fields(auto& op, auto&& visit) {
    visit("strides", op.strides), visit("pads", op.pads), visit("dilations", op.dilations), visit("groups", op.groups);
    visit("activation", op.activation);
  }
};
// Inputs: x, weights [C, O / groups, KH, KW], bias? [O].
struct ConvTranspose2d {
  std::array<std::int32_t, 2> strides{1, 1};
  std::array<std::int32_t, 4> pads{0, 0, 0, 0};
  std::array<std::int32_t, 2> dilations{1, 1};
  std::array<std::int32_t, 2> output_pads{0, 0};  // rows and columns added at the end
  std::int32_t groups = 1;
  Activation activation;

  static constexpr std::string_view kName = "ConvTranspose2d";
  static void Fields(auto& op, auto&& visit) {
    visit("strides", op.strides), visit("pads", op.pads), visit("dilations", op.dilations);
    visit("output_pads", op.output_pads), visit("groups", op.groups), visit("activation", op.activation);
  }
};
// Inputs: x [..., K], weights [M, K] (constant unless float32), bias? [M]. y [..., M] = x * weights^T + bias. x has at least 2
// dimensions.
struct FullyConnected {
  Activation activation;

  static constexpr std::string_view kName = "FullyConnected";
  static void Fields(auto& op, auto&& visit) { visit("activation", op.activation); }
};
// Inputs: a, b, multiplied as numpy.matmul does, batch dimensions broadcast.
struct MatMul {
  static constexpr std::string_view kName = "MatMul";
  static void Fields(auto&, auto&&) {}
};

enum class Direction : std::uint8_t { kForward = 0, kReverse = 1, kBidirectional = 2 };
// Inputs and outputs as ONNX, layout 0: x [T, N, I], w [D, 4H, I], r [D, 4H, H], b? [D, 8H], lengths?, h0? [D, N, H], c0?, p?
// [D, 3H] -> y? [T, D, N, H], h?, c?. Activations are three a direction, of the kinds that ONNX names.
struct Lstm {
  Direction direction = Direction::kForward;
  std::int32_t hidden = 1;
  float clip = 0;  // 0: none
  bool input_forget = false;
  std::vector<Activation> activations{{UnaryKind::kSigmoid}, {UnaryKind::kTanh}, {UnaryKind::kTanh}};

  static constexpr std::string_view kName = "Lstm";
  static void Fields(auto& op, auto&& visit) {
    visit("direction", op.direction), visit("hidden", op.hidden), visit("clip", op.clip);
    visit("input_forget", op.input_forget), visit("activations", op.activations);
  }
};
// x [T, N, I], w [D, 3H, I], r [D, 3H, H], b? [D, 6H], lengths?, h0? -> y?, h?. Two activations a direction.
struct Gru {
  Direction direction = Direction::kForward;
  std::int32_t hidden = 1;
  float clip = 0;
  bool linear_before_reset = false;
  std::vector<Activation> activations{{UnaryKind::kSigmoid}, {UnaryKind::kTanh}};

  static constexpr std::string_view kName = "Gru";
  static void Fields(auto& op, auto&& visit) {
    visit("direction", op.direction), visit("hidden", op.hidden), visit("clip", op.clip);
    visit("linear_before_reset", op.linear_before_reset), visit("activations", op.activations);
  }
};
// x [T, N, I], w [D, H, I], r [D, H, H], b? [D, 2H], lengths?, h0? -> y?, h?. One activation a direction.
struct Rnn {
  Direction direction = Direction::kForward;
  std::int32_t hidden = 1;
  float clip = 0;
  std::vector<Activation> activations{{UnaryKind::kTanh}};

  static constexpr std::string_view kName = "Rnn";
  static void Fields(auto& op, auto&& visit) {
    visit("direction", op.direction), visit("hidden", op.hidden), visit("clip", op.clip), visit("activations", op.activations);
  }
};

// ---- windows, normalization, reduction

// x [N, C, H, W]. Padding never wins a maximum and is not counted in an average unless `count_include_pad`.
struct Pool2d {
  enum class Kind : std::uint8_t { kMax = 0, kAverage = 1 } kind = Kind::kMax;
  std::array<std::int32_t, 2> kernel{1, 1};
  std::array<std::int32_t, 2> strides{1, 1};
  std::array<std::int32_t, 4> pads{0, 0, 0, 0};
  bool count_include_pad = false;
  std::array<std::int32_t, 2> dilations{1, 1};
  // A last window that begins inside the input or its padding before counts although it ends beyond the padding after.
  bool ceil = false;

  static constexpr std::string_view kName = "Pool2d";
  static void Fields(auto& op, auto&& visit) {
    visit("kind", op.kind), visit("kernel", op.kernel), visit("strides", op.strides), visit("pads", op.pads);
    visit("count_include_pad", op.count_include_pad), visit("dilations", op.dilations), visit("ceil", op.ceil);
  }
};
// x [N, C, ...], scale [C], shift [C], mean [C], variance [C], at inference.
struct BatchNorm {
  float epsilon = 1e-5F;
  static constexpr std::string_view kName = "BatchNorm";
  static void Fields(auto& op, auto&& visit) { visit("epsilon", op.epsilon); }
};
// x [N, C, ...], scale [C], shift [C]; statistics of each group of channels of each example. Instance normalization has C
// groups.
struct GroupNorm {
  std::int32_t groups = 0;  // 0: one a channel
  float epsilon = 1e-5F;
  static constexpr std::string_view kName = "GroupNorm";
  static void Fields(auto& op, auto&& visit) { visit("groups", op.groups), visit("epsilon", op.epsilon); }
};
// x, scale, shift? -> y, mean?, inverse standard deviation?, over the dimensions from `axis` on.
struct LayerNorm {
  std::int32_t axis = -1;
  float epsilon = 1e-5F;
  static constexpr std::string_view kName = "LayerNorm";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis), visit("epsilon", op.epsilon); }
};
struct LpNorm {
  std::int32_t axis = -1;
  std::int32_t p = 2;  // 1 or 2
  static constexpr std::string_view kName = "LpNorm";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis), visit("p", op.p); }
};
struct Lrn {
  std::int32_t size = 1;
  float alpha = 1e-4F;
  float beta = 0.75F;
  float bias = 1;
  static constexpr std::string_view kName = "Lrn";
  static void Fields(auto& op, auto&& visit) {
    visit("size", op.size), visit("alpha", op.alpha), visit("beta", op.beta), visit("bias", op.bias);
  }
};
struct Softmax {
  std::int32_t axis = -1;
  bool log = false;
  static constexpr std::string_view kName = "Softmax";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis), visit("log", op.log); }
};

enum class ReduceKind : std::uint8_t { kSum = 0, kMean, kMax, kMin, kProd, kL1, kL2, kLogSum, kLogSumExp, kSumSquare };
inline constexpr int kReduceKinds = 10;
struct Reduce {
  ReduceKind kind = ReduceKind::kSum;
  std::vector<std::int64_t> axes;  // empty: all
  bool keep_dims = true;
  static constexpr std::string_view kName = "Reduce";
  static void Fields(auto& op, auto&& visit) {
    visit("kind", op.kind), visit("axes", op.axes), visit("keep_dims", op.keep_dims);
  }
};
// To int64.
struct ArgReduce {
  bool largest = true;
  std::int32_t axis = 0;
  bool keep_dims = true;
  bool last = false;  // the last of equals, not the first
  static constexpr std::string_view kName = "ArgReduce";
  static void Fields(auto& op, auto&& visit) {
    visit("largest", op.largest), visit("axis", op.axis), visit("keep_dims", op.keep_dims), visit("last", op.last);
  }
};
// x, k (int64 [1], known when shapes are) -> values, indices (int64); in order, the lower index first among equals.
struct TopK {
  std::int32_t axis = -1;
  bool largest = true;
  static constexpr std::string_view kName = "TopK";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis), visit("largest", op.largest); }
};
struct CumSum {  // x, axis (int32 or int64 scalar, known when shapes are)
  bool exclusive = false;
  bool reverse = false;
  static constexpr std::string_view kName = "CumSum";
  static void Fields(auto& op, auto&& visit) { visit("exclusive", op.exclusive), visit("reverse", op.reverse); }
};

// ---- element by element

struct Unary {
  Activation function;
  static constexpr std::string_view kName = "Unary";
  static void Fields(auto& op, auto&& visit) { visit("function", op.function); }
};
enum class BinaryKind : std::uint8_t {
  kAdd = 0,
  kSub,
  kMul,
  kDiv,  // integers truncate
  kPow,
  kMin,
  kMax,
  kMod,    // sign of the divisor
  kFmod,   // sign of the dividend
  kPRelu,  // x, slope
  kEqual,  // this and the next to bool
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kAnd,
  kOr,
  kXor,
  kBitwiseAnd,
  kBitwiseOr,
  kBitwiseXor,
};
inline constexpr int kBinaryKinds = 21;
// Two inputs of one type, broadcast.
struct Binary {
  BinaryKind kind = BinaryKind::kAdd;
  Activation activation;
  static constexpr std::string_view kName = "Binary";
  static void Fields(auto& op, auto&& visit) { visit("kind", op.kind), visit("activation", op.activation); }
};
struct Where {  // condition, a, b, broadcast
  static constexpr std::string_view kName = "Where";
  static void Fields(auto&, auto&&) {}
};
struct Cast {
  DataType to = DataType::kFloat32;
  static constexpr std::string_view kName = "Cast";
  static void Fields(auto& op, auto&& visit) { visit("to", op.to); }
};
// fp32 (or int8, requantized; or int32 accumulators) to the output's quantization, round half to even, saturating.
struct Quantize {
  DataType to = DataType::kInt8;  // or kUint8
  static constexpr std::string_view kName = "Quantize";
  static void Fields(auto& op, auto&& visit) { visit("to", op.to); }
};
// int8, uint8 or int32 to fp32 by the input's quantization.
struct Dequantize {
  static constexpr std::string_view kName = "Dequantize";
  static void Fields(auto&, auto&&) {}
};

// ---- movement: elements of any type

struct Reshape {  // x, shape (int64, known when shapes are)
  bool allow_zero = false;
  static constexpr std::string_view kName = "Reshape";
  static void Fields(auto& op, auto&& visit) { visit("allow_zero", op.allow_zero); }
};
struct Flatten {  // to 2 dimensions, split before `axis`
  std::int32_t axis = 1;
  static constexpr std::string_view kName = "Flatten";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis); }
};
struct Squeeze {
  std::vector<std::int64_t> axes;  // empty: all of size 1
  static constexpr std::string_view kName = "Squeeze";
  static void Fields(auto& op, auto&& visit) { visit("axes", op.axes); }
};
struct Unsqueeze {
  std::vector<std::int64_t> axes;
  static constexpr std::string_view kName = "Unsqueeze";
  static void Fields(auto& op, auto&& visit) { visit("axes", op.axes); }
};
struct Transpose {
  std::vector<std::int64_t> permutation;
  static constexpr std::string_view kName = "Transpose";
  static void Fields(auto& op, auto&& visit) { visit("permutation", op.permutation); }
};
struct Concat {
  std::int32_t axis = 0;
  static constexpr std::string_view kName = "Concat";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis); }
};
struct Split {
  std::int32_t axis = 0;
  std::vector<std::int64_t> sizes;  // empty: equal parts, a smaller last one if need be
  static constexpr std::string_view kName = "Split";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis), visit("sizes", op.sizes); }
};
struct Slice {  // x, starts, ends, axes?, steps? (int64 or int32, known when shapes are)
  static constexpr std::string_view kName = "Slice";
  static void Fields(auto&, auto&&) {}
};
struct Gather {  // x, indices (int32 or int64); an index outside is an error
  std::int32_t axis = 0;
  static constexpr std::string_view kName = "Gather";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis); }
};
struct GatherElements {
  std::int32_t axis = 0;
  static constexpr std::string_view kName = "GatherElements";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis); }
};
struct GatherNd {
  std::int32_t batch_dims = 0;
  static constexpr std::string_view kName = "GatherNd";
  static void Fields(auto& op, auto&& visit) { visit("batch_dims", op.batch_dims); }
};
enum class ScatterKind : std::uint8_t { kSet = 0, kAdd, kMul, kMax, kMin };
struct ScatterElements {  // x, indices, updates
  std::int32_t axis = 0;
  ScatterKind kind = ScatterKind::kSet;
  static constexpr std::string_view kName = "ScatterElements";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis), visit("kind", op.kind); }
};
struct ScatterNd {
  ScatterKind kind = ScatterKind::kSet;
  static constexpr std::string_view kName = "ScatterNd";
  static void Fields(auto& op, auto&& visit) { visit("kind", op.kind); }
};
struct Expand {  // x, shape (int64, known when shapes are)
  static constexpr std::string_view kName = "Expand";
  static void Fields(auto&, auto&&) {}
};
struct Tile {  // x, repeats (int64, known when shapes are)
  static constexpr std::string_view kName = "Tile";
  static void Fields(auto&, auto&&) {}
};
struct Pad {  // x, pads (int64, known when shapes are), value?, axes?
  enum class Mode : std::uint8_t { kConstant = 0, kReflect = 1, kEdge = 2, kWrap = 3 } mode = Mode::kConstant;
  static constexpr std::string_view kName = "Pad";
  static void Fields(auto& op, auto&& visit) { visit("mode", op.mode); }
};
struct DepthToSpace {
  std::int32_t block = 1;
  bool column_row_depth = false;  // ONNX's CRD; else DCR
  static constexpr std::string_view kName = "DepthToSpace";
  static void Fields(auto& op, auto&& visit) { visit("block", op.block), visit("column_row_depth", op.column_row_depth); }
};
struct SpaceToDepth {
  std::int32_t block = 1;
  static constexpr std::string_view kName = "SpaceToDepth";
  static void Fields(auto& op, auto&& visit) { visit("block", op.block); }
};
struct Trilu {  // x, k? (int64, known when shapes are)
  bool upper = true;
  static constexpr std::string_view kName = "Trilu";
  static void Fields(auto& op, auto&& visit) { visit("upper", op.upper); }
};
struct ReverseSequence {  // x, lengths
  std::int32_t batch_axis = 1;
  std::int32_t time_axis = 0;
  static constexpr std::string_view kName = "ReverseSequence";
  static void Fields(auto& op, auto&& visit) { visit("batch_axis", op.batch_axis), visit("time_axis", op.time_axis); }
};
struct Resize {  // x, roi?, scales? (fp32), sizes? (int64), all known when shapes are
  enum class Mode : std::uint8_t { kNearest = 0, kLinear = 1, kCubic = 2 } mode = Mode::kNearest;
  enum class Coordinates : std::uint8_t {
    kHalfPixel = 0,
    kPytorchHalfPixel,
    kAlignCorners,
    kAsymmetric,
    kCropAndResize,
    kHalfPixelSymmetric
  } coordinates = Coordinates::kHalfPixel;
  enum class Nearest : std::uint8_t {
    kRoundPreferFloor = 0,
    kRoundPreferCeil,
    kFloor,
    kCeil
  } nearest = Nearest::kRoundPreferFloor;
  enum class AspectRatio : std::uint8_t { kStretch = 0, kNotLarger, kNotSmaller } aspect_ratio = AspectRatio::kStretch;
  std::vector<std::int64_t> axes;  // of scales, sizes and roi; empty: all
  float cubic_a = -0.75F;
  bool exclude_outside = false;
  float extrapolation = 0;
  bool antialias = false;

  static constexpr std::string_view kName = "Resize";
  static void Fields(auto& op, auto&& visit) {
    visit("mode", op.mode), visit("coordinates", op.coordinates), visit("nearest", op.nearest);
    visit("aspect_ratio", op.aspect_ratio), visit("axes", op.axes), visit("cubic_a", op.cubic_a);
    visit("exclude_outside", op.exclude_outside), visit("extrapolation", op.extrapolation), visit("antialias", op.antialias);
  }
};

// ---- shapes as values

struct ShapeOf {  // dimensions [start, end) as int64
  std::int32_t start = 0;
  std::int32_t end = 64;  // beyond the last one: all
  static constexpr std::string_view kName = "ShapeOf";
  static void Fields(auto& op, auto&& visit) { visit("start", op.start), visit("end", op.end); }
};
struct SizeOfTensor {  // element count, an int64 scalar
  static constexpr std::string_view kName = "SizeOfTensor";
  static void Fields(auto&, auto&&) {}
};
struct Range {  // start, limit, delta, known when shapes are
  static constexpr std::string_view kName = "Range";
  static void Fields(auto&, auto&&) {}
};
struct Fill {  // shape (int64, known when shapes are), value (one element): ONNX's ConstantOfShape
  static constexpr std::string_view kName = "Fill";
  static void Fields(auto&, auto&&) {}
};
struct OneHot {  // indices, depth (known when shapes are), values [2]
  std::int32_t axis = -1;
  static constexpr std::string_view kName = "OneHot";
  static void Fields(auto& op, auto&& visit) { visit("axis", op.axis); }
};
struct NonZero {  // x, known when shapes are
  static constexpr std::string_view kName = "NonZero";
  static void Fields(auto&, auto&&) {}
};

// How many enumerators an attribute's type has; they count from 0.
template <typename Enum>
inline constexpr int kEnumerators = 0;
template <>
inline constexpr int kEnumerators<DataType> = kDataTypes;
template <>
inline constexpr int kEnumerators<Direction> = 3;
template <>
inline constexpr int kEnumerators<Pool2d::Kind> = 2;
template <>
inline constexpr int kEnumerators<ReduceKind> = kReduceKinds;
template <>
inline constexpr int kEnumerators<BinaryKind> = kBinaryKinds;
template <>
inline constexpr int kEnumerators<ScatterKind> = 5;
template <>
inline constexpr int kEnumerators<Pad::Mode> = 4;
template <>
inline constexpr int kEnumerators<Resize::Mode> = 3;
template <>
inline constexpr int kEnumerators<Resize::Coordinates> = 6;
template <>
inline constexpr int kEnumerators<Resize::Nearest> = 4;
template <>
inline constexpr int kEnumerators<Resize::AspectRatio> = 3;

using Operator =
    std::variant<Conv2d, ConvTranspose2d, FullyConnected, MatMul, Lstm, Gru, Rnn, Pool2d, BatchNorm, GroupNorm, LayerNorm,
                 LpNorm, Lrn, Softmax, Reduce, ArgReduce, TopK, CumSum, Unary, Binary, Where, Cast, Quantize, Dequantize,
                 Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Concat, Split, Slice, Gather, GatherElements, GatherNd,
                 ScatterElements, ScatterNd, Expand, Tile, Pad, DepthToSpace, SpaceToDepth, Trilu, ReverseSequence, Resize,
                 ShapeOf, SizeOfTensor, Range, Fill, OneHot, NonZero>;

// The operator of this kName with its default attributes.
std::optional<Operator> OperatorNamed(std::string_view name);

// "Conv2d"; the kind for those that have one: "Sigmoid", "Mul", "ReduceMean", "MaxPool2d".
std::string_view OperatorName(const Operator& op);

}  // namespace edgefleet::runtime
