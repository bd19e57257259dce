// Recurrent layers as ONNX defines them (layout 0): fp32 and bf16; weights, biases and states of any type that holds real
// numbers. `clip` bounds what enters the activations of gates. A sequence shorter than T has outputs 0 after its end; its last
// state is the one at its end, and the reverse direction begins there.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

Result<std::vector<TypedShape>> Infer(const Lstm& op, const InferCall& call);
Status Run(const Lstm& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Gru& op, const InferCall& call);
Status Run(const Gru& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Rnn& op, const InferCall& call);
Status Run(const Rnn& op, const RunCall& call);

}  // namespace edgefleet::runtime
