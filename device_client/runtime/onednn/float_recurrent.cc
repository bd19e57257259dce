// Recurrent layers. oneDNN orders gates in its own way and wants one bias; its sequences are [T, N, D * H].
#include "device_client/runtime/onednn/eltwise.h"
#include "device_client/runtime/onednn/float_steps.h"
#include "device_client/runtime/ops/widen.h"

namespace edgefleet::runtime::onednn {
namespace {

using dnnl::prop_kind;
using Type = dnnl::memory::data_type;

dnnl::rnn_direction DirectionOf(Direction direction) {
  if (direction == Direction::kBidirectional) return dnnl::rnn_direction::bidirectional_concat;
  return direction == Direction::kReverse ? dnnl::rnn_direction::unidirectional_right2left
                                          : dnnl::rnn_direction::unidirectional_left2right;
}

bool Has(const std::vector<TensorId>& ids, std::size_t i) { return i < ids.size() && ids[i] != kAbsent; }

std::vector<float> Widened(const Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(ElementCount(tensor.shape)));
  WidenRows(tensor, tensor.data.data(), 0, tensor.shape[0], values.data());
  return values;
}

// ONNX's number of each of oneDNN's gates.
std::vector<int> GatesOf(const Lstm&) { return {0, 2, 3, 1}; }  // i, f, c, o of i, o, f, c
std::vector<int> GatesOf(const Gru&) { return {0, 1, 2}; }
std::vector<int> GatesOf(const Rnn&) { return {0}; }

// [D, G, H]: of inputs and recurrences together, but for a GRU that is linear before its reset: its last gate has two.
template <typename Op>
std::vector<float> BiasOf(const Op& op, const Tensor* bias, std::int64_t directions) {
  const std::vector<int> gates = GatesOf(op);
  const auto count = static_cast<std::int64_t>(gates.size());
  const std::int64_t hidden = op.hidden;
  bool split = false;
  if constexpr (std::is_same_v<Op, Gru>) split = op.linear_before_reset;
  const std::vector<float> values =
      bias == nullptr ? std::vector<float>(static_cast<std::size_t>(2 * directions * count * hidden)) : Widened(*bias);
  std::vector<float> out;
  for (std::int64_t d = 0; d < directions; ++d) {
    const float* w = values.data() + 2 * d * count * hidden;
    const float* r = w + count * hidden;
    for (const int gate : gates) {
      const bool alone = split && gate == count - 1;
      for (std::int64_t i = gate * hidden; i < (gate + 1) * hidden; ++i) out.push_back(alone ? w[i] : w[i] + r[i]);
    }
    if (split) out.insert(out.end(), r + (count - 1) * hidden, r + count * hidden);
  }
  return out;
}

View OwnedFloats(Program& program, const std::vector<float>& values, const Dims& dims) {
  const dnnl::memory memory(Plain(dims, Type::f32), Engine());
  std::ranges::copy(values, static_cast<float*>(memory.get_data_handle()));
  return program.Owned(memory);
}

struct LayerDescs {
  dnnl::rnn_direction direction;
  dnnl::memory::desc x, h0, c0, w, r, p, b, y, h, c;
};

dnnl::lstm_forward::desc DescOf(const Lstm&, const LayerDescs& d) {
  return {prop_kind::forward_inference, d.direction, d.x, d.h0, d.c0, d.w, d.r, d.p, {}, d.b, d.y, d.h, d.c};
}
dnnl::vanilla_rnn_forward::desc DescOf(const Rnn& op, const LayerDescs& d) {
  const Eltwise function = EltwiseOf(op.activations[0])[0];
  return {prop_kind::forward_inference, function.algorithm, d.direction, d.x, d.h0, d.w, d.r, d.b, d.y, d.h};
}

}  // namespace

View FloatSteps::GateWeights(TensorId id, const std::vector<int>& gates, std::int64_t hidden,
                             const dnnl::memory::desc& wanted) {
  const Tensor& tensor = At(id);
  const std::vector<float> values = Widened(tensor);
  const std::int64_t directions = tensor.shape[0], inputs = tensor.shape[2];
  const auto count = static_cast<std::int64_t>(gates.size());
  std::vector<float> ordered;
  for (std::int64_t d = 0; d < directions; ++d) {
    for (const int gate : gates) {
      const auto first = values.begin() + (d * count + gate) * hidden * inputs;
      ordered.insert(ordered.end(), first, first + hidden * inputs);
    }
  }
  // Layers, directions, inputs, gates, outputs.
  const dnnl::memory::desc from({1, directions, inputs, count, hidden}, Type::f32, dnnl::memory::format_tag::ldgoi);
  const dnnl::memory memory(from, Engine());
  std::ranges::copy(ordered, static_cast<float*>(memory.get_data_handle()));
  return from == wanted ? program_.Owned(memory) : Constant(program_, from, memory.get_data_handle(), wanted);
}

template <typename Op>
void FloatSteps::AddRecurrent(const Op& op, const Node& node) {
  const auto& shape = At(node.inputs[0]).shape;
  const std::int64_t steps = shape[0], batch = shape[1], inputs = shape[2], hidden = op.hidden;
  const std::int64_t directions = op.direction == Direction::kBidirectional ? 2 : 1;
  const std::vector<int> gates = GatesOf(op);
  const auto count = static_cast<std::int64_t>(gates.size());
  constexpr bool kCell = std::is_same_v<Op, Lstm>;
  const Dims state{1, directions, batch, hidden};
  const std::vector<float> bias = BiasOf(op, Has(node.inputs, 3) ? &At(node.inputs[3]) : nullptr, directions);
  const auto bias_gates = static_cast<std::int64_t>(bias.size()) / directions / hidden;
  const bool begins = Has(node.inputs, 5) || (kCell && Has(node.inputs, 6));
  const bool ends = Has(node.outputs, 1) || (kCell && Has(node.outputs, 2));
  const bool peeps = kCell && Has(node.inputs, 7);

  const auto plain_state = Plain(state, Type::f32);
  LayerDescs descs{.direction = DirectionOf(op.direction)};
  descs.x = Plain({steps, batch, inputs}, Type::f32);
  descs.w = AnyLayout({1, directions, inputs, count, hidden}, Type::f32);
  descs.r = AnyLayout({1, directions, hidden, count, hidden}, Type::f32);
  descs.b = Plain({1, directions, bias_gates, hidden}, Type::f32);
  descs.y = Plain({steps, batch, directions * hidden}, Type::f32);
  if (begins) descs.h0 = descs.c0 = plain_state;
  if (ends) descs.h = descs.c = plain_state;
  if (peeps) descs.p = Plain({1, directions, 3, hidden}, Type::f32);

  const auto add = [&]<typename Primitive>(const typename Primitive::desc& desc, Primitive) {
    const typename Primitive::primitive_desc pd(desc, NewAttributes(), Engine());
    Program::Arguments arguments{{DNNL_ARG_SRC_LAYER, Rows(node.inputs[0], {steps, batch, inputs}, Type::f32)},
                                 {DNNL_ARG_WEIGHTS_LAYER, GateWeights(node.inputs[1], gates, hidden, pd.weights_layer_desc())},
                                 {DNNL_ARG_WEIGHTS_ITER, GateWeights(node.inputs[2], gates, hidden, pd.weights_iter_desc())},
                                 {DNNL_ARG_BIAS, OwnedFloats(program_, bias, {1, directions, bias_gates, hidden})}};
    const auto initial = [&](std::size_t i) {
      if (Has(node.inputs, i)) return Rows(node.inputs[i], state, Type::f32);
      return OwnedFloats(program_, std::vector<float>(static_cast<std::size_t>(directions * batch * hidden)), state);
    };
    if (begins) arguments.emplace_back(DNNL_ARG_SRC_ITER, initial(5));
    if (begins && kCell) arguments.emplace_back(DNNL_ARG_SRC_ITER_C, initial(6));
    if (peeps) {
      // i, f, o of ONNX's i, o, f.
      const std::vector<float> p = Widened(At(node.inputs[7]));
      std::vector<float> ordered;
      for (std::int64_t row = 0; row < 3 * directions; ++row) {
        const std::int64_t from = row % 3 == 0 ? row : row % 3 == 1 ? row + 1 : row - 1;
        ordered.insert(ordered.end(), p.begin() + from * hidden, p.begin() + (from + 1) * hidden);
      }
      arguments.emplace_back(DNNL_ARG_WEIGHTS_PEEPHOLE, OwnedFloats(program_, ordered, {1, directions, 3, hidden}));
    }
    const View y = program_.Temporary(descs.y);
    const View h = program_.Temporary(plain_state);
    const View c = program_.Temporary(plain_state);
    arguments.emplace_back(DNNL_ARG_DST_LAYER, y);
    if (ends) arguments.emplace_back(DNNL_ARG_DST_ITER, h);
    if (ends && kCell) arguments.emplace_back(DNNL_ARG_DST_ITER_C, c);
    program_.Add<Primitive>(pd, std::move(arguments));
    if (Has(node.outputs, 0)) {
      const Dims dims{steps, directions, batch, hidden};
      const dnnl::memory::desc apart(dims, Type::f32, Dims{batch * directions * hidden, hidden, directions * hidden, 1});
      Put(node.outputs[0], program_.Reordered({apart, y.slot}, Plain(dims, Type::f32)));
    }
    if (Has(node.outputs, 1)) PutRows(node.outputs[1], h);
    if (Has(node.outputs, 2)) PutRows(node.outputs[2], c);
  };
  if constexpr (std::is_same_v<Op, Gru>) {
    const LayerDescs& d = descs;
    constexpr auto kKind = prop_kind::forward_inference;
    if (op.linear_before_reset) {
      add(dnnl::lbr_gru_forward::desc(kKind, d.direction, d.x, d.h0, d.w, d.r, d.b, d.y, d.h), dnnl::lbr_gru_forward());
    } else {
      add(dnnl::gru_forward::desc(kKind, d.direction, d.x, d.h0, d.w, d.r, d.b, d.y, d.h), dnnl::gru_forward());
    }
  } else if constexpr (kCell) {
    add(DescOf(op, descs), dnnl::lstm_forward());
  } else {
    add(DescOf(op, descs), dnnl::vanilla_rnn_forward());
  }
}

void FloatSteps::AddOperator(const Lstm& op, const Node& node) { AddRecurrent(op, node); }
void FloatSteps::AddOperator(const Gru& op, const Node& node) { AddRecurrent(op, node); }
void FloatSteps::AddOperator(const Rnn& op, const Node& node) { AddRecurrent(op, node); }

}  // namespace edgefleet::runtime::onednn
