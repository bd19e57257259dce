// Opens a model and runs it twice in a fresh process, for the benchmark's cold-open section: prints times since the program
// began, and what the process holds in memory beyond what it held before, as one JSON object.
//   open_model edgefleet MODEL.efm | open_model ort MODEL.onnx
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/session.h"
#include "load_tests/bench/bench.h"
#include "load_tests/runtime/ort/session.h"

namespace edgefleet::load_tests {
namespace {

constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 30;

// Of /proc/self/status, in MB.
double StatusMb(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) return std::stod(line.substr(field.size() + 1)) * 1024 / 1e6;
  }
  return 0;
}

class Watch {
 public:
  double Ms() const { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

struct Opened {
  double open_ms = 0, first_ms = 0, second_ms = 0;
  double activations_mb = 0;
  double private_mb = 0, mapped_mb = 0;  // of the process while the model is open
};

template <typename Run>
void RunTwice(const Watch& watch, Opened& opened, Run&& run) {
  opened.open_ms = watch.Ms();
  Must(run());
  opened.first_ms = watch.Ms();
  Must(run());
  opened.second_ms = watch.Ms() - opened.first_ms;
  opened.private_mb = StatusMb("RssAnon");
  opened.mapped_mb = StatusMb("RssFile");
}

Opened OpenOurs(const char* path) {
  const Watch watch;
  Opened opened;
  auto graph = std::make_shared<const runtime::Graph>(Must(runtime::LoadEfm(Must(MappedFile::Open(path)))));
  const auto session = Must(runtime::Session::Create(graph));
  const std::vector<float> input(static_cast<std::size_t>(session->input_size()), 0.5F);
  std::vector<float> output(static_cast<std::size_t>(session->output_size()));
  RunTwice(watch, opened, [&] { return session->Run(input, output); });
  opened.activations_mb = static_cast<double>((input.size() + output.size()) * sizeof(float)) / 1e6;
  return opened;
}

Opened OpenPeer(const char* path) {
  const Watch watch;
  Opened opened;
  const OrtSession session = Must(OrtSession::Load(Must(MappedFile::Open(path))->bytes()));
  std::vector<std::int64_t> shape = session.inputs()[0].shape;
  shape[0] = 1;
  const std::vector<float> input(static_cast<std::size_t>(shape[1]), 0.5F);
  OrtRun run = Must(session.Prepare({arrays::MakeArray<float>(shape, input)}));
  RunTwice(watch, opened, run);
  return opened;
}

int Main(const std::string& runtime, const char* path) {
  const double private_before = StatusMb("RssAnon"), mapped_before = StatusMb("RssFile");
  const Opened opened = runtime == "ort" ? OpenPeer(path) : OpenOurs(path);
  const nlohmann::json row{{"open_ms", opened.open_ms},
                           {"first_inference_ms", opened.first_ms},
                           {"second_inference_ms", opened.second_ms},
                           {"private_mb", opened.private_mb - private_before - opened.activations_mb},
                           {"mapped_mb", opened.mapped_mb - mapped_before}};
  std::printf("%s\n", row.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace edgefleet::load_tests

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: open_model edgefleet|ort FILE\n");
    return 2;
  }
  return edgefleet::load_tests::Main(argv[1], argv[2]);
}
