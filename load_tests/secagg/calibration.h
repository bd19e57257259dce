// What the floors of secure aggregation are made of, measured in the same process and at the same time as what stands on them.
#pragma once

#include <cstddef>
#include <functional>

#include "secagg/mask/cipher.h"

namespace edgefleet::load_tests {

// Makes `bytes` of bare key stream, by the fastest mask path of this machine, in a buffer that stays in the cache: nothing is
// added to anything.
std::function<void(std::size_t bytes)> BareKeyStream(secagg::MaskCipher cipher);
// The same with OpenSSL.
std::function<void(std::size_t bytes)> OpenSslKeyStream(secagg::MaskCipher cipher);

// Makes `count` X25519 agreements, by the library that the protocol uses, and by OpenSSL.
std::function<void(std::size_t count)> BareX25519();
std::function<void(std::size_t count)> OpenSslX25519();

}  // namespace edgefleet::load_tests
