// fp32 arithmetic on rows of memory, for shapes that vendors' primitives broadcast one element at a time. Portable: the
// compiler makes vectors of the loops.
#pragma once

#include <cstdint>

namespace edgefleet::runtime::kernels {

enum class RowFunction : std::uint8_t { kAdd, kSub, kMul, kDiv, kMin, kMax };

// y[i] = f(a[i], b[i]), i < count; of an operand that repeats, element 0 stands for all. kMin and kMax pass NaN on. `y` may be
// `a` or `b`, where that does not repeat.
void CombineRow(RowFunction f, const float* a, bool a_repeats, const float* b, bool b_repeats, std::int64_t count, float* y);

// y[i] = min(max(y[i], low), high); NaN stays.
void ClampRow(float low, float high, std::int64_t count, float* y);

// The sum in double precision, of eight partial sums.
double SumRow(const float* x, std::int64_t count);

}  // namespace edgefleet::runtime::kernels
