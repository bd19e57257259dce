#include "load_tests/runtime/npm_packages.h"

namespace edgefleet::load_tests {

Result<std::filesystem::path> NpmFile(const std::string& package, const std::string& file) {
  const std::filesystem::path path = std::filesystem::path(EDGEFLEET_NPM_DIR) / package / file;
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return NotFound("NPM_PACKAGES_MISSING", path.string() + " is missing; fetch the npm packages with ./run peers");
  }
  return path;
}

}  // namespace edgefleet::load_tests
