// Every operator with attributes, types, shapes and values from anybody: rules refuse or kernels run. It is the sanitizers' to
// find what is wrong.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/random.h"
#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime::testing {
namespace {

constexpr std::int64_t kElementsRun = 10'000;  // outputs that are larger are not computed

class Anything {
 public:
  explicit Anything(std::uint64_t seed) : random_(seed) {}

  std::int64_t Between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_.Below(static_cast<std::uint64_t>(high - low + 1)));
  }
  bool OneIn(std::uint64_t n) { return random_.Below(n) == 0; }

  template <typename Int>
  Int Integer() {
    if (!OneIn(25)) return static_cast<Int>(Between(-2, 4));
    using Limits = std::numeric_limits<Int>;
    return std::array<Int, 4>{Limits::min(), Limits::max(), static_cast<Int>(Limits::max() / 2), Int{100}}[random_.Below(4)];
  }
  float Real() {
    if (!OneIn(8)) return static_cast<float>(Between(-40, 40)) / 8;
    using Limits = std::numeric_limits<float>;
    return std::array{
        Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity(), Limits::max(), Limits::min(), -0.0F, -3e9F}[random_.Below(
        7)];
  }

  template <typename Field>
  void Fill(Field& field) {
    if constexpr (std::is_same_v<Field, bool>) {
      field = OneIn(2);
    } else if constexpr (std::is_same_v<Field, Activation>) {
      // The fields of other kinds are not looked at.
      field = {static_cast<UnaryKind>(OneIn(30) ? 200 : Between(0, kUnaryKinds - 1)), Real(), Real()};
    } else if constexpr (std::is_enum_v<Field>) {
      field = static_cast<Field>(OneIn(30) ? 200 : Between(0, kEnumerators<Field> - 1));
    } else if constexpr (std::is_floating_point_v<Field>) {
      field = Real();
    } else if constexpr (std::is_integral_v<Field>) {
      field = Integer<Field>();
    } else {
      if constexpr (requires { field.clear(); }) {
        if (OneIn(3)) return;
        field.resize(static_cast<std::size_t>(Between(0, 3)));
      }
      for (auto& each : field) {
        if (!OneIn(3)) Fill(each);
      }
    }
  }

  Shape AnyShape() {
    Shape shape(static_cast<std::size_t>(Between(0, 4)));
    for (auto& size : shape) size = OneIn(12) ? 0 : Between(1, 3);
    return shape;
  }
  // A shape like `like`, with some sizes others.
  Shape Related(Shape like) {
    if (OneIn(4)) return AnyShape();
    for (auto& size : like) {
      if (OneIn(5)) size = 1;
    }
    if (OneIn(6) && !like.empty()) like.erase(like.begin());
    if (OneIn(8)) like.push_back(Between(1, 2));
    return like;
  }

  std::optional<Quantization> AnyQuantization(DataType type) {
    const std::int32_t zero_point = static_cast<std::int32_t>(type == DataType::kInt8 ? Between(-128, 127) : Between(0, 255));
    return Quantization{{static_cast<float>(Between(1, 40)) / 16}, {zero_point}, -1};
  }

  Value OfType(DataType type, Shape shape) {
    Value value;
    value.tensor = {"x", type, std::move(shape), std::nullopt, {}};
    value.known = OneIn(2);
    const auto count = static_cast<std::size_t>(ElementCount(value.shape()));
    value.bytes.resize(count * SizeOf(type));
    for (std::size_t i = 0; i < count; ++i) {
      const auto put = [&](auto element) { std::memcpy(value.bytes.data() + i * sizeof(element), &element, sizeof(element)); };
      switch (SizeOf(type)) {
        case 1:
          put(Integer<std::int8_t>());
          break;
        case 2:
          put(ToBFloat16(Real()));
          break;
        case 4:
          type == DataType::kFloat32 ? put(Real()) : put(Integer<std::int32_t>());
          break;
        default:
          put(Integer<std::int64_t>());
          break;
      }
    }
    const bool bytes = type == DataType::kInt8 || type == DataType::kUint8;
    if (bytes && !OneIn(3)) value.tensor.quantization = AnyQuantization(type);
    return value;
  }

  DataType AnyType() {
    if (OneIn(2)) return DataType::kFloat32;
    return std::array{DataType::kFloat32, DataType::kInt8,  DataType::kInt32, DataType::kBFloat16,
                      DataType::kUint8,   DataType::kInt64, DataType::kBool}[random_.Below(7)];
  }

  std::vector<Value> Inputs() {
    std::vector<Value> inputs;
    const std::int64_t count = OneIn(20) ? Between(0, 8) : Between(1, 4);
    for (std::int64_t i = 0; i < count; ++i) {
      if (i == 0) {
        inputs.push_back(OfType(AnyType(), AnyShape()));
      } else if (OneIn(20)) {
        inputs.push_back(Absent());
      } else if (OneIn(2)) {
        inputs.push_back(OfType(DataType::kInt64, OneIn(4) ? Related(inputs[0].shape()) : Shape{Between(0, 4)}));
      } else {
        inputs.push_back(OfType(OneIn(5) ? AnyType() : inputs[0].tensor.type, Related(inputs[0].shape())));
      }
    }
    return inputs;
  }

 private:
  SeededRandom random_;
};

enum class Outcome { kRefused, kTooLarge, kRan };

Outcome Try(const Operator& op, Anything& anything) {
  const std::vector<Value> inputs = anything.Inputs();
  const auto outputs = static_cast<std::size_t>(anything.OneIn(4) ? anything.Between(0, 3) : 1);
  const auto inferred = Inferred(op, inputs, outputs);
  if (!inferred) {
    const std::string& reason = inferred.error().reason();
    EXPECT_TRUE(reason == "GRAPH_NODE" || reason == "GRAPH_SHAPE" || reason == "GRAPH_TYPE" || reason == "BAD_INDEX" ||
                reason == "SHAPE_DEPENDS_ON_DATA")
        << OperatorName(op) << ": " << inferred.error().ToString();
    return Outcome::kRefused;
  }
  EXPECT_EQ(inferred->size(), outputs) << OperatorName(op);
  const bool quantizes = std::holds_alternative<Quantize>(op) || (!inputs.empty() && inputs[0].tensor.quantization);
  std::vector<Value> values(inferred->size());
  std::vector<Destination> destinations;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto& [type, shape] = (*inferred)[i];
    if (ElementCount(shape) > kElementsRun) return Outcome::kTooLarge;
    const bool bytes = type == DataType::kInt8 || type == DataType::kUint8;
    values[i].tensor = {"y", type, shape, bytes && quantizes ? anything.AnyQuantization(type) : std::nullopt, {}};
    values[i].bytes.resize(static_cast<std::size_t>(ElementCount(shape)) * SizeOf(type));
    destinations.push_back({&values[i].tensor, values[i].bytes.data()});
  }
  std::vector<Operand> operands;
  for (const Value& input : inputs) operands.push_back(OperandOf(input, true));
  const Status status = RunOperator(op, {operands, destinations});
  EXPECT_TRUE(status.ok() || status.reason() == "BAD_INDEX") << OperatorName(op) << ": " << status.ToString();
  return status.ok() ? Outcome::kRan : Outcome::kRefused;
}

// Until it ran often, for kinds that are hard to meet.
template <typename Op>
void TryMany(Anything& anything, std::map<std::string_view, int>& ran) {
  for (int i = 0; i < 20'000 && ran[Op::kName] < 100; ++i) {
    Op op;
    Op::Fields(op, [&](std::string_view, auto& field) {
      if (!anything.OneIn(3)) anything.Fill(field);
    });
    if (Try(op, anything) == Outcome::kRan) ++ran[Op::kName];
  }
}

TEST(AnyOperator, IsRefusedOrRuns) {
  Anything anything(20'221'118);
  std::map<std::string_view, int> ran;
  [&]<std::size_t... i>(std::index_sequence<i...>) { (TryMany<std::variant_alternative_t<i, Operator>>(anything, ran), ...); }
  (std::make_index_sequence<std::variant_size_v<Operator>>{});
  // Most kinds must come to run, or this test tests little.
  int kinds = 0;
  for (const auto& [name, times] : ran) {
    RecordProperty(std::string(name), times);
    if (times >= 5) ++kinds;
  }
  EXPECT_GE(kinds, 40) << "of " << std::variant_size_v<Operator>;
}

}  // namespace
}  // namespace edgefleet::runtime::testing
