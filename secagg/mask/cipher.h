// The ciphers that make masks.
#pragma once

#include <cstdint>

namespace edgefleet::secagg {

enum class MaskCipher : std::uint8_t {
  kAes256Ctr = 1,
  kAes128Ctr = 2,  // the key is the first 16 bytes of the term's
};

}  // namespace edgefleet::secagg
