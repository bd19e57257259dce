// What one core can do at most, measured: the multiplications a second of registers against registers.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace edgefleet::load_tests {

// Instructions that multiply and add; the names are the CPU's.
enum class Unit { kFma, kBf16, kVnni, kAmxInt8, kAmxBf16 };

std::string NameOf(Unit unit);

// Multiply-accumulates a second of one thread, the best of `turns` of about 2 ms; empty if the CPU, the kernel or the build has
// no such unit. AMX is asked of the kernel for the whole process (arch_prctl). Thread-compatible.
std::optional<double> PeakMacs(Unit unit, int turns = 9);

}  // namespace edgefleet::load_tests
