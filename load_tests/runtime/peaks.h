// What one core can do at most, measured: the multiplications a second of registers against registers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace edgefleet::load_tests {

// Instructions that multiply and add; the names are the CPU's.
enum class Unit { kFma, kBf16, kVnni, kAmxInt8, kAmxBf16 };

std::string NameOf(Unit unit);

// Runs `rounds` rounds of the unit's instruction on registers alone, 4 to 12 a round, and returns their multiply-accumulates; 0
// if the CPU, the kernel or the build has no such unit. AMX is asked of the kernel for the whole process (arch_prctl).
double Burst(Unit unit, std::int64_t rounds);

// Multiply-accumulates a second of one thread, the best of `turns` of some milliseconds; empty if there is no such unit.
std::optional<double> PeakMacs(Unit unit, int turns = 9);

}  // namespace edgefleet::load_tests
