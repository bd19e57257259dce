// How far two runtimes' outputs are apart.
#pragma once

#include <span>
#include <vector>

#include "base/arrays/array.h"
#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::load_tests {

// A copy as float32.
std::vector<float> FloatsOf(ByteView bytes);

// Power of the reference by that of the difference; infinite if they are equal. Of the same size.
double SnrDecibels(std::span<const float> reference, std::span<const float> values);

// The largest difference by the reference's largest magnitude; infinite where one of them is not finite and the other differs.
// Of the same size.
double MaxRelativeError(std::span<const float> reference, std::span<const float> values);

// The largest MaxRelativeError of the float32 outputs; outputs of other types must be equal. `outputs` are the bytes of as many
// arrays. FAILED_PRECONDITION [OUTPUTS_DIFFER] if their number, a size or an integer differs.
Result<double> LargestError(const std::vector<arrays::Array>& reference, const std::vector<Bytes>& outputs);

}  // namespace edgefleet::load_tests
