// Loads hostile configuration files; what loads prints as something that loads again.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "services/runtime/config.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {

std::filesystem::path ConfigFile() {
  return std::filesystem::temp_directory_path() / ("edgefleet-config-fuzz-" + std::to_string(::getpid()));
}

const Bytes& Seed() {
  static const Bytes seed = ToBytes(AsBytes(services::PrintConfig({})));
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  const auto file = fuzz::ConfigFile();
  const auto load = [&](ByteView content) {
    if (!WriteFileAtomic(file, content).ok()) std::abort();
    auto config = services::LoadConfig(file);
    std::filesystem::remove(file);
    return config;
  };
  const auto config = load({reinterpret_cast<const std::byte*>(data), size});
  if (config && !load(AsBytes(services::PrintConfig(*config)))) std::abort();
  return 0;
}
