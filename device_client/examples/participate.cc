// The library from C++: keep up to date and take part in one federated round with data made up on the spot.
// usage: example-participate STATE_DIR ORIGIN_URL FLEET_ADDRESS TRUST_KEY_HEX MODEL EXAMPLE_SIZE CLASSES
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "device_client/device/device.h"

namespace {

namespace device = edgefleet::device;

// A class is a bright band at its own place in the example.
class Bands final : public edgefleet::runtime::Dataset {
 public:
  Bands(std::size_t example_size, std::int32_t classes) : example_size_(example_size), classes_(classes) {}
  std::size_t size() const override { return 100; }
  std::size_t example_size() const override { return example_size_; }
  std::int32_t Label(std::size_t index) const override { return static_cast<std::int32_t>(index) % classes_; }
  void CopyExample(std::size_t index, std::span<float> out) const override {
    std::mt19937 noise(static_cast<unsigned>(index));
    std::generate(out.begin(), out.end(), [&] { return static_cast<float>(noise() % 100) / 1000.0F; });
    const std::size_t width = std::max<std::size_t>(1, example_size_ / static_cast<std::size_t>(classes_));
    const std::size_t start = static_cast<std::size_t>(Label(index)) * width;
    for (std::size_t i = start; i < std::min(start + width, out.size()); ++i) out[i] += 1.0F;
  }

 private:
  const std::size_t example_size_;
  const std::int32_t classes_;
};

int Fail(const char* what, const edgefleet::Status& status) {
  std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fprintf(stderr, "usage: %s STATE_DIR ORIGIN_URL FLEET_ADDRESS TRUST_KEY_HEX MODEL EXAMPLE_SIZE CLASSES\n", argv[0]);
    return 2;
  }
  device::DeviceOptions options;
  options.state_dir = argv[1];
  options.device_id = "example-cc";
  options.device_class = "example";
  options.region = "local";
  options.model = argv[5];
  options.origin_url = argv[2];
  options.fleet_address = argv[3];
  const auto key = edgefleet::crypto::ParseEd25519PublicKey(argv[4]);
  if (!key) return Fail("trust key", key.error());
  options.trusted_keys = {*key};

  auto opened = device::Device::Open(options);
  if (!opened) return Fail("open", opened.error());
  if (const auto updated = (*opened)->Update(); !updated) return Fail("update", updated.error());
  const Bands examples(std::strtoul(argv[6], nullptr, 10), std::atoi(argv[7]));
  const auto part = (*opened)->Participate(device::Conditions{}, examples);
  if (!part) return Fail("participate", part.error());
  std::printf("round '%s': outcome %d %s %s, come back in %lld ms\n", part->round_id.c_str(), static_cast<int>(part->kind),
              part->reason.c_str(), part->detail.c_str(), static_cast<long long>(part->retry_after.count()));
  return 0;
}
