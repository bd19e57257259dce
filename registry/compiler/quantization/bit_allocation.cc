#include "registry/compiler/quantization/bit_allocation.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace edgefleet::compiler {
namespace {

using Layers = std::span<const std::vector<PrecisionOption>>;

// A layer's move from one option of its hull to the next, larger one.
struct Step {
  std::size_t layer;
  std::size_t option;
  std::uint64_t bytes;  // more than before
  double noise;         // less than before
  double gain() const { return noise / static_cast<double>(bytes); }
};

// Whether `b` lies on or above the line from `a` to `c`, so that it is never the best choice.
bool Dominated(const PrecisionOption& a, const PrecisionOption& b, const PrecisionOption& c) {
  return (a.noise - b.noise) * static_cast<double>(c.bytes - a.bytes) <=
         (a.noise - c.noise) * static_cast<double>(b.bytes - a.bytes);
}

// The options on the lower convex hull, from the smallest up; noise falls and the gain of each step too.
std::vector<std::size_t> Hull(const std::vector<PrecisionOption>& options) {
  std::vector<std::size_t> order(options.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    return options[a].bytes < options[b].bytes || (options[a].bytes == options[b].bytes && options[a].noise < options[b].noise);
  });
  std::vector<std::size_t> hull;
  for (const std::size_t i : order) {
    if (!hull.empty() && options[i].noise >= options[hull.back()].noise) continue;
    while (hull.size() > 1 && Dominated(options[hull[hull.size() - 2]], options[hull.back()], options[i])) hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

double TotalNoise(Layers layers, const std::vector<std::size_t>& choices) {
  double noise = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) noise += layers[i][choices[i]].noise;
  return noise;
}

// Takes steps by falling gain. `fits` says whether a step may be taken at the allocation so far, `done` whether to stop before
// it.
Allocation Climb(Layers layers, const std::function<bool(const Allocation&, const Step&)>& fits,
                 const std::function<bool(const Allocation&)>& done) {
  Allocation out;
  std::vector<Step> steps;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const std::vector<std::size_t> hull = Hull(layers[layer]);
    out.choices.push_back(hull[0]);
    out.bytes += layers[layer][hull[0]].bytes;
    for (std::size_t i = 1; i < hull.size(); ++i) {
      const PrecisionOption& from = layers[layer][hull[i - 1]];
      const PrecisionOption& to = layers[layer][hull[i]];
      steps.push_back({layer, hull[i], to.bytes - from.bytes, from.noise - to.noise});
    }
  }
  std::ranges::stable_sort(steps, std::greater{}, &Step::gain);
  out.noise = TotalNoise(layers, out.choices);
  std::vector<bool> stopped(layers.size(), false);
  for (const Step& step : steps) {
    if (done(out)) break;
    // A layer that cannot take a step cannot take the ones after it.
    if (stopped[step.layer] || !fits(out, step)) {
      stopped[step.layer] = true;
      continue;
    }
    out.choices[step.layer] = step.option;
    out.bytes += step.bytes;
    out.noise = TotalNoise(layers, out.choices);
  }
  return out;
}

}  // namespace

Allocation AllocateForSize(Layers layers, std::uint64_t bytes_max) {
  Allocation out = Climb(
      layers, [&](const Allocation& now, const Step& step) { return now.bytes + step.bytes <= bytes_max; },
      [](const Allocation&) { return false; });
  out.within_budget = out.bytes <= bytes_max;
  return out;
}

Allocation AllocateForNoise(Layers layers, double noise_max) {
  Allocation out = Climb(
      layers, [](const Allocation&, const Step&) { return true; },
      [&](const Allocation& now) { return now.noise <= noise_max; });
  out.within_budget = out.noise <= noise_max;
  return out;
}

}  // namespace edgefleet::compiler
