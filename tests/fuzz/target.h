// What a fuzz target provides.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace edgefleet::fuzz {

// A valid input to start mutations from.
const Bytes& Seed();

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
