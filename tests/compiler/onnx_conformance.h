// ONNX's own test models (Debian's libonnx-testdata): each is imported, run on the reference kernels and in a session on the
// onednn delegate, and compared with the outputs that ONNX gives.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace edgefleet::compiler {

struct ConformanceResult {
  enum class Outcome { kPassed, kRefused, kFailed };

  std::string name;                 // "node/test_abs"
  std::set<std::string> operators;  // "Abs", "com.microsoft.Gelu"
  Outcome outcome = Outcome::kFailed;
  std::string category;         // why it is refused, in a word or two that many models share
  std::string message;          // what the importer or the comparison says
  std::string constant_inputs;  // which inputs had to be given as constants: "", "all but the first", "all"
};

// All models below `folder`, in order of their names. The models' inputs are activations; what the importer refuses so is tried
// again with all inputs but the first as constants, then with all: some operators want sizes, axes or scales that are known
// when shapes are.
std::vector<ConformanceResult> RunConformance(const std::filesystem::path& folder);

// docs/operators.md.
std::string WriteOperatorList(const std::vector<ConformanceResult>& results);

}  // namespace edgefleet::compiler
