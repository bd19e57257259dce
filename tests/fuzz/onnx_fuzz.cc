// Imports hostile ONNX files.
#include "load_tests/fashion/fashion_network.h"
#include "registry/compiler/onnx/import.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {

const Bytes& Seed() {
  static const Bytes seed = fashion::MakeFashionCnn(1);
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static_cast<void>(edgefleet::compiler::ImportOnnx({reinterpret_cast<const std::byte*>(data), size}, {}));
  return 0;
}
