#include "device_client/runtime/ops/recurrent.h"

#include <algorithm>
#include <cmath>

#include "device_client/runtime/ops/activation.h"
#include "device_client/runtime/ops/widen.h"

namespace edgefleet::runtime {
namespace {

// The inputs in ONNX's order; the last two are the LSTM's only.
enum Input : std::size_t { kX, kW, kR, kB, kLengths, kH0, kC0, kP };

template <typename Op>
inline constexpr std::int64_t kGates = 1;
template <>
inline constexpr std::int64_t kGates<Gru> = 3;
template <>
inline constexpr std::int64_t kGates<Lstm> = 4;

template <typename Op>
inline constexpr std::size_t kActivations = 1;
template <>
inline constexpr std::size_t kActivations<Gru> = 2;
template <>
inline constexpr std::size_t kActivations<Lstm> = 3;

template <typename Op>
std::int64_t DirectionsOf(const Op& op) {
  return op.direction == Direction::kBidirectional ? 2 : 1;
}

template <typename Op>
Status CheckAttributes(const Op& op) {
  if (op.direction > Direction::kBidirectional) return BadAttribute("its direction is unknown");
  if (op.hidden < 1) return BadAttribute("its hidden size must be at least 1");
  if (!(op.clip >= 0)) return BadAttribute("its clip must be positive, or 0 for none");
  const std::size_t wanted = kActivations<Op> * static_cast<std::size_t>(DirectionsOf(op));
  if (op.activations.size() != wanted && op.activations.size() != kActivations<Op>) {
    return BadAttribute("it has " + std::to_string(op.activations.size()) + " activations; " + std::to_string(wanted) +
                        " are wanted");
  }
  for (const Activation& activation : op.activations) EF_RETURN_IF_ERROR(CheckActivation(activation, false));
  return OkStatus();
}

template <typename Op>
Result<std::vector<TypedShape>> InferAny(const Op& op, const InferCall& call) {
  constexpr bool kCell = std::is_same_v<Op, Lstm>;
  EF_RETURN_IF_ERROR(call.CheckArity(3, kCell ? 8 : 6, kCell ? 3 : 2));
  EF_RETURN_IF_ERROR(CheckAttributes(op));
  const Operand& x = call.at(kX);
  if (x.type() != DataType::kFloat32 && x.type() != DataType::kBFloat16) {
    return BadType("its input must be float32 or bfloat16, not " + std::string(DataTypeName(x.type())));
  }
  if (x.shape().size() != 3) return BadShape("its input " + ToText(x.shape()) + " must be [T, N, I]");
  const std::int64_t directions = DirectionsOf(op);
  const std::int64_t hidden = op.hidden;
  const std::int64_t batch = x.shape()[1];
  const std::int64_t rows = kGates<Op> * hidden;
  EF_RETURN_IF_ERROR(CheckParameter(call.at(kW), {directions, rows, x.shape()[2]}, "its input w"));
  EF_RETURN_IF_ERROR(CheckParameter(call.at(kR), {directions, rows, hidden}, "its input r"));
  if (call.has(kB)) EF_RETURN_IF_ERROR(CheckParameter(call.at(kB), {directions, 2 * rows}, "its input b"));
  if (call.has(kLengths)) {
    if (call.at(kLengths).type() != DataType::kInt32) return BadType("its lengths must be int32");
    if (call.at(kLengths).shape() != Shape{batch}) return BadShape("its lengths must be one an example");
  }
  const Shape state{directions, batch, hidden};
  if (call.has(kH0)) EF_RETURN_IF_ERROR(CheckParameter(call.at(kH0), state, "its input h0"));
  if (call.has(kC0)) EF_RETURN_IF_ERROR(CheckParameter(call.at(kC0), state, "its input c0"));
  if (call.has(kP)) EF_RETURN_IF_ERROR(CheckParameter(call.at(kP), {directions, 3 * hidden}, "its input p"));
  std::vector<TypedShape> outputs(call.outputs, {x.type(), state});
  outputs[0].shape = {x.shape()[0], directions, batch, hidden};
  return outputs;
}

// What one direction computes with; null where absent.
struct Weights {
  const float* w = nullptr;  // [gates * H, I]
  const float* r = nullptr;  // [gates * H, H]
  const float* b = nullptr;  // [2 * gates * H]: of w, of r
  const float* p = nullptr;  // [3 * H]
};

double Dot(const float* weights, const auto* x, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(weights[i]) * x[i];
  return sum;
}

// One step of one sequence: `h` and `c` are the state, `from_x` holds w * x + its bias for every gate.
class Cell {
 public:
  Cell(std::int64_t hidden, double clip, const Activation* activations, const Weights& weights, std::int64_t gates)
      : hidden_(hidden), gates_(gates), clip_(clip), activations_(activations), weights_(weights) {}

  // w * x + its bias.
  void Enter(const float* x, std::int64_t inputs, std::vector<double>& from_x) const {
    for (std::int64_t i = 0; i < gates_ * hidden_; ++i) {
      from_x[i] = Dot(weights_.w + i * inputs, x, inputs) + (weights_.b != nullptr ? weights_.b[i] : 0.0F);
    }
  }

  void Step(const Rnn&, const std::vector<double>& from_x, std::vector<double>& next, double* h, double*) const {
    for (std::int64_t i = 0; i < hidden_; ++i) next[i] = Activate(0, from_x[i] + Recur(0, i, h));
    std::copy_n(next.begin(), hidden_, h);
  }

  // Gates z, r, h.
  void Step(const Gru& op, const std::vector<double>& from_x, std::vector<double>& next, double* h, double*) const {
    double* update = next.data();
    double* reset = update + hidden_;
    double* candidate = reset + hidden_;
    for (std::int64_t i = 0; i < hidden_; ++i) {
      update[i] = Activate(0, from_x[i] + Recur(0, i, h));
      reset[i] = Activate(0, from_x[hidden_ + i] + Recur(1, i, h));
    }
    if (op.linear_before_reset) {
      for (std::int64_t i = 0; i < hidden_; ++i) {
        candidate[i] = Activate(1, from_x[2 * hidden_ + i] + reset[i] * Recur(2, i, h));
      }
    } else {
      for (std::int64_t i = 0; i < hidden_; ++i) reset[i] *= h[i];
      for (std::int64_t i = 0; i < hidden_; ++i) candidate[i] = Activate(1, from_x[2 * hidden_ + i] + Recur(2, i, reset));
    }
    for (std::int64_t i = 0; i < hidden_; ++i) h[i] = (1 - update[i]) * candidate[i] + update[i] * h[i];
  }

  // Gates i, o, f, c; peepholes i, o, f.
  void Step(const Lstm& op, const std::vector<double>& from_x, std::vector<double>& next, double* h, double* c) const {
    for (std::int64_t i = 0; i < hidden_; ++i) {
      const double in = Activate(0, from_x[i] + Recur(0, i, h) + Peep(0, i, c[i]));
      const double candidate = Activate(1, from_x[3 * hidden_ + i] + Recur(3, i, h));
      const double forget = op.input_forget ? 1 - in : Activate(0, from_x[2 * hidden_ + i] + Recur(2, i, h) + Peep(2, i, c[i]));
      c[i] = forget * c[i] + in * candidate;
      const double out = Activate(0, from_x[hidden_ + i] + Recur(1, i, h) + Peep(1, i, c[i]));
      next[i] = out * Apply(activations_[2], c[i]);
    }
    std::copy_n(next.begin(), hidden_, h);
  }

 private:
  // r * h + its bias, of one element of a gate.
  double Recur(std::int64_t gate, std::int64_t i, const double* h) const {
    const std::int64_t row = gate * hidden_ + i;
    return Dot(weights_.r + row * hidden_, h, hidden_) + (weights_.b != nullptr ? weights_.b[gates_ * hidden_ + row] : 0.0F);
  }
  double Peep(std::int64_t gate, std::int64_t i, double c) const {
    return weights_.p != nullptr ? weights_.p[gate * hidden_ + i] * c : 0;
  }
  double Activate(std::size_t which, double x) const {
    return Apply(activations_[which], clip_ > 0 ? std::clamp(x, -clip_, clip_) : x);
  }

  std::int64_t hidden_;
  std::int64_t gates_;
  double clip_;
  const Activation* activations_;
  Weights weights_;
};

// An operand that may be absent.
Result<Reals> OptionalReals(const RunCall& call, std::size_t i) {
  if (!call.has(i)) return Reals();
  return Reals::Of(call.in(i));
}
Result<std::optional<RealOutput>> OptionalOutput(const RunCall& call, std::size_t i) {
  if (!call.wants(i)) return std::nullopt;
  EF_ASSIGN_OR_RETURN(RealOutput output, RealOutput::For(call.out(i)));
  return output;
}

const float* Part(const Reals& reals, std::int64_t offset) { return reals.data() == nullptr ? nullptr : reals + offset; }

float ToSingle(double value) { return static_cast<float>(value); }

// One layer on one call's operands.
template <typename Op>
class Layer {
 public:
  Layer(const Op& op, const RunCall& call)
      : op_(op),
        call_(call),
        steps_(call.in(kX).shape()[0]),
        batch_(call.in(kX).shape()[1]),
        inputs_(call.in(kX).shape()[2]),
        hidden_(op.hidden),
        directions_(DirectionsOf(op)) {}

  Status Run() {
    EF_RETURN_IF_ERROR(Prepare());
    for (std::int64_t d = 0; d < directions_; ++d) {
      const Cell cell = CellOf(d);
      for (std::int64_t n = 0; n < batch_; ++n) RunSequence(cell, d, n);
    }
    for (const auto& output : outputs_) {
      if (output) EF_RETURN_IF_ERROR(output->Store());
    }
    return OkStatus();
  }

 private:
  static constexpr std::int64_t kRows = kGates<Op>;

  Status Prepare() {
    for (const std::size_t i : {kX, kW, kR, kB, kH0, kC0, kP}) {
      EF_ASSIGN_OR_RETURN(operands_[i], OptionalReals(call_, i));
    }
    for (std::size_t i = 0; i < 3; ++i) {
      EF_ASSIGN_OR_RETURN(outputs_[i], OptionalOutput(call_, i));
    }
    EF_ASSIGN_OR_RETURN(from_x_, Allocate<double>(kRows * hidden_));
    EF_ASSIGN_OR_RETURN(next_, Allocate<double>(kRows * hidden_));
    EF_ASSIGN_OR_RETURN(h_, Allocate<double>(hidden_));
    EF_ASSIGN_OR_RETURN(c_, Allocate<double>(hidden_));
    return OkStatus();
  }

  Cell CellOf(std::int64_t d) const {
    const std::int64_t rows = kRows * hidden_;
    const Weights weights{Part(operands_[kW], d * rows * inputs_), Part(operands_[kR], d * rows * hidden_),
                          Part(operands_[kB], d * 2 * rows), Part(operands_[kP], d * 3 * hidden_)};
    const std::size_t first = static_cast<std::size_t>(d) * kActivations<Op> % op_.activations.size();
    return Cell(hidden_, op_.clip, &op_.activations[first], weights, kRows);
  }

  void Begin(const Reals& initial, std::int64_t state, std::vector<double>& to) const {
    std::ranges::fill(to, 0);
    if (initial.data() != nullptr) std::copy_n(initial + state, hidden_, to.begin());
  }

  std::int64_t LengthOf(std::int64_t n) const {
    if (!call_.has(kLengths)) return steps_;
    return std::clamp<std::int64_t>(call_.in(kLengths).template as<std::int32_t>()[n], 0, steps_);
  }

  void RunSequence(const Cell& cell, std::int64_t d, std::int64_t n) {
    const std::int64_t state = (d * batch_ + n) * hidden_;
    Begin(operands_[kH0], state, h_);
    Begin(operands_[kC0], state, c_);
    const bool reverse = op_.direction == Direction::kReverse || d == 1;
    const std::int64_t length = LengthOf(n);
    for (std::int64_t step = 0; step < length; ++step) {
      const std::int64_t t = reverse ? length - 1 - step : step;
      cell.Enter(operands_[kX] + (t * batch_ + n) * inputs_, inputs_, from_x_);
      cell.Step(op_, from_x_, next_, h_.data(), c_.data());
      if (outputs_[0]) std::ranges::transform(h_, OutputAt(t, d, n), ToSingle);
    }
    for (std::int64_t t = length; t < steps_ && outputs_[0]; ++t) std::fill_n(OutputAt(t, d, n), hidden_, 0.0F);
    if (outputs_[1]) std::ranges::transform(h_, outputs_[1]->data() + state, ToSingle);
    if (outputs_[2]) std::ranges::transform(c_, outputs_[2]->data() + state, ToSingle);
  }

  float* OutputAt(std::int64_t t, std::int64_t d, std::int64_t n) {
    return outputs_[0]->data() + ((t * directions_ + d) * batch_ + n) * hidden_;
  }

  const Op& op_;
  const RunCall& call_;
  std::int64_t steps_;
  std::int64_t batch_;
  std::int64_t inputs_;
  std::int64_t hidden_;
  std::int64_t directions_;
  Reals operands_[8];
  std::optional<RealOutput> outputs_[3];
  std::vector<double> from_x_;  // of every gate
  std::vector<double> next_;
  std::vector<double> h_;
  std::vector<double> c_;
};

}  // namespace

Result<std::vector<TypedShape>> Infer(const Lstm& op, const InferCall& call) { return InferAny(op, call); }
Status Run(const Lstm& op, const RunCall& call) { return Layer(op, call).Run(); }
Result<std::vector<TypedShape>> Infer(const Gru& op, const InferCall& call) { return InferAny(op, call); }
Status Run(const Gru& op, const RunCall& call) { return Layer(op, call).Run(); }
Result<std::vector<TypedShape>> Infer(const Rnn& op, const InferCall& call) { return InferAny(op, call); }
Status Run(const Rnn& op, const RunCall& call) { return Layer(op, call).Run(); }

}  // namespace edgefleet::runtime
