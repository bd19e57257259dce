#include "services/registry/toolchain.h"

#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/parameters.h"

namespace edgefleet::services {

registry::Toolchain MakeToolchain() {
  return {.compile = compiler::Compile,
          .evaluate = compiler::EvaluateParameters,
          .read_parameters = [](std::shared_ptr<const MappedFile> efm) -> Result<std::vector<float>> {
            EF_ASSIGN_OR_RETURN(const runtime::Graph graph, runtime::LoadEfm(std::move(efm)));
            return runtime::ReadParameters(graph);
          }};
}

}  // namespace edgefleet::services
