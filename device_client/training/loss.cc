#include "device_client/training/loss.h"

#include <algorithm>
#include <cmath>

namespace edgefleet::training {

double SoftmaxCrossEntropy(std::span<const float> logits, std::span<const std::int32_t> labels, std::span<float> gradient) {
  const std::size_t rows = labels.size();
  const std::size_t classes = logits.size() / rows;
  const float share = 1.0F / static_cast<float>(rows);
  double loss = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const float* x = logits.data() + row * classes;
    float* g = gradient.data() + row * classes;
    const float top = *std::max_element(x, x + classes);
    float sum = 0;
    for (std::size_t i = 0; i < classes; ++i) sum += g[i] = std::exp(x[i] - top);
    for (std::size_t i = 0; i < classes; ++i) g[i] *= share / sum;
    const auto label = static_cast<std::size_t>(labels[row]);
    g[label] -= share;
    loss += std::log(static_cast<double>(sum)) - (static_cast<double>(x[label]) - top);
  }
  return loss / static_cast<double>(rows);
}

void SgdUpdate(std::span<float> values, std::span<const float> gradients, std::span<const float> start, float rate, float mu) {
  float* __restrict w = values.data();
  const float* __restrict g = gradients.data();
  const float* __restrict s = start.data();
  const std::size_t count = values.size();
  if (mu == 0.0F) {
    for (std::size_t i = 0; i < count; ++i) w[i] -= rate * g[i];
    return;
  }
  for (std::size_t i = 0; i < count; ++i) w[i] -= rate * (g[i] + mu * (w[i] - s[i]));
}

}  // namespace edgefleet::training
