// What this processor's int8 vector unit can do at most, measured.
#pragma once

namespace edgefleet::load_tests {

// Multiply-accumulates of one second of vpdpbusd on registers alone; 0 without AVX-512 VNNI. The caller checks the processor.
double VnniMacsPerSecond();

}  // namespace edgefleet::load_tests
