// Measures the parts of secure aggregation against their bars.
//
//   bench_secagg [--json] [--only SECTION ...] [--small]
//
// Prints a line per row, with --json as one object a line. Exit code 1: a bar is missed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "load_tests/secagg/section.h"

namespace edgefleet::load_tests {
namespace {

struct NamedSection {
  const char* name;
  Section run;
};
constexpr NamedSection kSections[] = {
    {"mask", MaskSection},     {"client", ClientSection},     {"traffic", TrafficSection},
    {"unmask", UnmaskSection}, {"sessions", SessionsSection}, {"noise", NoiseSection},
};

void Print(const char* section, nlohmann::json row, bool as_json) {
  if (as_json) {
    row.update({{"bench", "secagg"}, {"section", section}});
    std::printf("%s\n", row.dump().c_str());
  } else {
    std::printf("%-44s %10.4g %s", row["name"].get<std::string>().c_str(), row["value"].get<double>(),
                row["unit"].get<std::string>().c_str());
    if (row.contains("bar")) {
      std::printf("  (%s %.4g: %s)", row["sense"] == "at_least" ? "at least" : "at most", row["bar"].get<double>(),
                  row["ok"].get<bool>() ? "ok" : "MISSED");
    }
    std::printf("\n");
  }
  std::fflush(stdout);
}

int Run(const std::vector<std::string>& only, const BenchSize& size, bool as_json) {
  bool ok = true;
  for (const NamedSection& section : kSections) {
    if (!only.empty() && std::ranges::find(only, section.name) == only.end()) continue;
    for (const nlohmann::json& row : section.run(size)) {
      Print(section.name, row, as_json);
      ok = ok && row.value("ok", true);
    }
  }
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace edgefleet::load_tests

int main(int argc, char** argv) {
  CLI::App app{"Measures the parts of secure aggregation against their bars"};
  bool as_json = false;
  edgefleet::load_tests::BenchSize size;
  std::vector<std::string> only, names;
  for (const auto& section : edgefleet::load_tests::kSections) names.emplace_back(section.name);
  app.add_flag("--json", as_json, "one JSON object a line");
  app.add_flag("--small", size.small, "everything once on little data, without bars");
  app.add_option("--only", only, "sections to run")->check(CLI::IsMember(names));
  CLI11_PARSE(app, argc, argv);
  return edgefleet::load_tests::Run(only, size, as_json);
}
