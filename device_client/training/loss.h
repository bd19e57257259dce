// Softmax cross-entropy and the SGD update: plain loops over floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace edgefleet::training {

// Mean softmax cross-entropy of `rows` rows of logits, and its gradient by the logits.
double SoftmaxCrossEntropy(std::span<const float> logits, std::span<const std::int32_t> labels, std::span<float> gradient);

// w -= rate * (g + mu * (w - start)), element by element.
void SgdUpdate(std::span<float> values, std::span<const float> gradients, std::span<const float> start, float rate, float mu);

}  // namespace edgefleet::training
