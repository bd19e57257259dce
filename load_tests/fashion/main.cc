// edgefleet-fashion: writes what the demo publishes, from Debian's dataset-fashion-mnist.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "load_tests/fashion/fashion_data.h"
#include "load_tests/fashion/fashion_network.h"

namespace {

using edgefleet::Bytes;
using edgefleet::OkStatus;
using edgefleet::Status;
namespace fashion = edgefleet::fashion;

Status Write(const std::filesystem::path& path, const Bytes& content) {
  EF_RETURN_IF_ERROR(edgefleet::WriteFileAtomic(path, content));
  std::printf("%s  %zu bytes\n", path.c_str(), content.size());
  return OkStatus();
}

Status WriteImages(const std::filesystem::path& path, const fashion::Images& images, std::size_t count, bool with_labels) {
  EF_ASSIGN_OR_RETURN(const Bytes npz, edgefleet::arrays::WriteNpz(fashion::ToNpz(images, count, with_labels)));
  return Write(path, npz);
}

Status Run(const std::filesystem::path& dataset, const std::filesystem::path& out, std::uint64_t seed) {
  EF_ASSIGN_OR_RETURN(const fashion::FashionMnist data, fashion::LoadFashionMnist(dataset));
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) return edgefleet::InvalidArgument("BAD_FOLDER", "cannot make the folder " + out.string() + ": " + error.message());
  EF_RETURN_IF_ERROR(Write(out / "fashion_cnn.onnx", fashion::MakeFashionCnn(seed)));
  EF_RETURN_IF_ERROR(WriteImages(out / "calibration.npz", data.holdout, fashion::kCalibration, false));
  EF_RETURN_IF_ERROR(WriteImages(out / "holdout.npz", data.holdout, data.holdout.size(), true));
  return WriteImages(out / "test.npz", data.test, data.test.size(), true);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Writes fashion_cnn.onnx, calibration.npz, holdout.npz and test.npz for edgefleet's demo");
  std::string dataset = fashion::kDefaultFolder;
  std::string out;
  std::uint64_t seed = 1;
  app.add_option("--dataset", dataset, "folder of the gzipped IDX files")->capture_default_str();
  app.add_option("--out", out, "folder to write to")->required();
  app.add_option("--seed", seed, "seed of the initial weights")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (const Status status = Run(dataset, out, seed); !status.ok()) {
    std::fprintf(stderr, "edgefleet-fashion: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
