// What this processor's int8 vector unit can do at most, measured.
#pragma once

namespace edgefleet::load_tests {

// Runs 20 * `loops` vpdpbusd on registers alone and returns their multiply-accumulates; 0 without AVX-512 VNNI. The caller
// checks the processor.
double VnniBurst(int loops);

}  // namespace edgefleet::load_tests
