// Model files for tests of the cache: what they compute says which file it was.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/file.h"
#include "device_client/runtime/cache/model_cache.h"
#include "device_client/runtime/format/efm.h"
#include "tests/runtime/graph_builder.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::runtime::testing {

inline constexpr std::int64_t kWidth = 32;

// `layers` fully connected layers of kWidth x kWidth whose weights are all 1 / kWidth, but for the last, which are
// `value` / kWidth: for an input of ones every output is `value`.
inline Bytes ModelBytes(float value, int layers = 2) {
  GraphBuilder builder;
  TensorId x = builder.Input({1, kWidth});
  for (int layer = 0; layer < layers; ++layer) {
    const float weight = (layer + 1 < layers ? 1.0F : value) / static_cast<float>(kWidth);
    const auto weights = builder.Constant<float>({kWidth, kWidth}, std::vector<float>(kWidth * kWidth, weight));
    x = builder.Apply(FullyConnected{}, {x, weights});
  }
  return *WriteEfm(*builder.Finish({x}));
}

// The same in `pairs` of layers, kWidth to 4096 and back, of 1 MiB each.
inline Bytes LargeModelBytes(float value, int pairs) {
  constexpr std::int64_t kMiddle = 4096;
  GraphBuilder builder;
  TensorId x = builder.Input({1, kWidth});
  for (int pair = 0; pair < pairs; ++pair) {
    const float out = pair + 1 < pairs ? 1.0F : value;
    const std::vector<float> up(kMiddle * kWidth, 1.0F / static_cast<float>(kWidth));
    const std::vector<float> down(kWidth * kMiddle, out / static_cast<float>(kMiddle));
    x = builder.Apply(FullyConnected{}, {x, builder.Constant<float>({kMiddle, kWidth}, up)});
    x = builder.Apply(FullyConnected{}, {x, builder.Constant<float>({kWidth, kMiddle}, down)});
  }
  return *WriteEfm(*builder.Finish({x}));
}

class ModelFiles {
 public:
  ModelSource Write(float value, int layers = 2) { return Write(ModelBytes(value, layers)); }
  ModelSource Write(const Bytes& bytes) {
    ModelSource source{crypto::Sha256(bytes), {}};
    source.file = dir_.path() / HexEncode(source.sha256);
    EXPECT_TRUE(WriteFileAtomic(source.file, bytes).ok());
    return source;
  }
  const std::filesystem::path& path() const { return dir_.path(); }

 private:
  test::TempDir dir_;
};

inline ModelCacheOptions ReferenceOptions(std::size_t bytes_max = std::size_t{64} << 20, LoadMode mode = LoadMode::kMapped) {
  ModelCacheOptions options{.bytes_max = bytes_max, .pinned_bytes_max = bytes_max};
  options.model.mode = mode;
  options.model.delegate = "reference";
  return options;
}

// How often a stress test repeats: `count`, or that times EDGEFLEET_STRESS.
inline int Repetitions(int count) {
  const char* factor = std::getenv("EDGEFLEET_STRESS");
  return count * (factor != nullptr ? std::max(1, std::atoi(factor)) : 1);
}

// The value that the model yields for ones, or -1 when outputs differ: a torn result.
inline float RunOnes(Session& session) {
  const std::vector<float> input(kWidth, 1.0F);
  std::vector<float> output(kWidth);
  if (!session.Run(input, output).ok()) return -2;
  return std::ranges::all_of(output, [&](float value) { return value == output[0]; }) ? output[0] : -1;
}

inline float RunOnes(LoadedModel& model) {
  const auto lease = model.Borrow();
  EXPECT_TRUE(lease) << lease.error().ToString();
  return lease ? RunOnes(lease->session()) : -3;
}

}  // namespace edgefleet::runtime::testing
