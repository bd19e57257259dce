#include "device_client/runtime/kernels/float_rows.h"

#include <array>
#include <cstddef>

namespace edgefleet::runtime::kernels {
namespace {

template <typename F>
void Each(const float* a, bool a_repeats, const float* b, bool b_repeats, std::int64_t count, float* y, F f) {
  if (a_repeats) {
    const float x = *a;
    for (std::int64_t i = 0; i < count; ++i) y[i] = f(x, b_repeats ? *b : b[i]);
  } else if (b_repeats) {
    const float x = *b;
    for (std::int64_t i = 0; i < count; ++i) y[i] = f(a[i], x);
  } else {
    for (std::int64_t i = 0; i < count; ++i) y[i] = f(a[i], b[i]);
  }
}

}  // namespace

void CombineRow(RowFunction f, const float* a, bool a_repeats, const float* b, bool b_repeats, std::int64_t count, float* y) {
  const auto each = [&](auto function) { Each(a, a_repeats, b, b_repeats, count, y, function); };
  switch (f) {
    case RowFunction::kAdd:
      return each([](float x, float z) { return x + z; });
    case RowFunction::kSub:
      return each([](float x, float z) { return x - z; });
    case RowFunction::kMul:
      return each([](float x, float z) { return x * z; });
    case RowFunction::kDiv:
      return each([](float x, float z) { return x / z; });
    case RowFunction::kMin:
      return each([](float x, float z) { return (x < z) | (x != x) ? x : z; });
    case RowFunction::kMax:
      return each([](float x, float z) { return (x > z) | (x != x) ? x : z; });
  }
}

void ClampRow(float low, float high, std::int64_t count, float* y) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float raised = y[i] < low ? low : y[i];
    y[i] = raised > high ? high : raised;
  }
}

double SumRow(const float* x, std::int64_t count) {
  constexpr std::size_t kLanes = 8;
  std::array<double, kLanes> sums{};
  std::int64_t i = 0;
  for (; i + static_cast<std::int64_t>(kLanes) <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += double{x[i + static_cast<std::int64_t>(lane)]};
  }
  double sum = 0;
  for (; i < count; ++i) sum += double{x[i]};
  for (const double lane : sums) sum += lane;
  return sum;
}

}  // namespace edgefleet::runtime::kernels
