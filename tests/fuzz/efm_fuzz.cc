// Loads hostile .efm files. With clang this is a libFuzzer target; with other compilers smoke.cc drives it over a fixed
// sequence of mutations.
#include <cstdlib>
#include <cstring>

#include "device_client/runtime/format/efm.h"
#include "tests/fuzz/target.h"
#include "tests/runtime/graph_builder.h"

namespace edgefleet::fuzz {
namespace {

using namespace runtime;  // NOLINT(google-build-using-namespace): the operators

Bytes MakeSeed() {
  testing::GraphBuilder b;
  SeededRandom random(1);
  TensorId x = b.Apply(Quantize{}, {b.Input({1, 2, 5, 5})}, testing::PerTensor(0.1F, 3));
  const TensorId weights = b.Constant<std::int8_t>({3, 2, 3, 3}, testing::RandomInt8(random, 54), testing::PerTensor(0.1F));
  x = b.Apply(Conv2d{{1, 1}, {1, 1, 1, 1}, {1, 1}, 1, {UnaryKind::kRelu}}, {x, weights}, testing::PerTensor(0.2F, -4));
  x = b.Apply(Dequantize{}, {x});
  x = b.Apply(Pool2d{Pool2d::Kind::kMax, {2, 2}, {2, 2}, {0, 0, 0, 0}, false}, {x});
  x = b.Apply(Flatten{}, {x});
  x = b.Apply(FullyConnected{}, {x, b.Parameter({2, 12}, testing::RandomFloats(random, 24))});
  return *WriteEfm(*b.Finish({b.Apply(Softmax{}, {x})}));
}

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = MakeSeed();
  return seed;
}

}  // namespace edgefleet::fuzz

// What loads must be a graph that can be written and loaded again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  const auto graph = runtime::LoadEfm(Bytes(bytes, bytes + size));
  if (!graph) return 0;
  const auto written = runtime::WriteEfm(*graph);
  if (!written || !runtime::LoadEfm(*written)) std::abort();
  return 0;
}
