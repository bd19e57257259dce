#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "load_tests/runtime/agreement.h"
#include "load_tests/runtime/contest.h"
#include "load_tests/runtime/models.h"
#include "load_tests/runtime/ort/session.h"
#include "load_tests/runtime/ours.h"
#include "load_tests/runtime/peaks.h"
#include "load_tests/runtime/qdq.h"
#include "load_tests/runtime/section.h"

namespace edgefleet::load_tests {
namespace {

using nlohmann::json;

constexpr int kCalibrationExamples = 8;
constexpr Unit kUnits[] = {Unit::kFma, Unit::kVnni, Unit::kAmxInt8};
constexpr std::int64_t kBurstRounds = 20'000;

struct Network {
  std::string name;
  std::string input;
  Bytes onnx;                       // what we compile, and the peer's fp32
  Bytes folded;                     // the same without BatchNormalization: what the peer's quantizer starts from
  std::vector<std::int64_t> shape;  // of the input that is timed
  double macs = 0;                  // of one run
  QdqBoundary boundary = QdqBoundary::kFloat;
  // Bars of times: ours by the peer's, and our int8 by our fp32.
  std::optional<double> fp32_max, int8_max, int8_by_fp32_max;
  std::optional<double> vnni_share_min;
};

// One of those that take turns.
struct Runner {
  std::string name;
  std::vector<Unit> units;  // that could do the work
  std::function<Status()> run;
  std::function<std::vector<float>()> output;  // of the last run; absent where it is no float32
};

const char kOurs32[] = "edgefleet fp32";
const char kOurs8[] = "edgefleet int8";   // quantized by our compiler
const char kOursQdq[] = "edgefleet QDQ";  // compiled from the file that the peer runs
const char kPeer32[] = "ONNX Runtime fp32";
const char kPeer8[] = "ONNX Runtime int8";

arrays::Array QuantizedInput(const arrays::Array& x) {
  std::vector<std::uint8_t> values;
  for (const float value : x.values<float>()) {
    values.push_back(static_cast<std::uint8_t>(std::clamp(std::nearbyint(value * 32) + 128, 0.0F, 255.0F)));
  }
  return arrays::MakeArray<std::uint8_t>(x.shape, values);
}

// All examples in one array.
arrays::Array Joined(const std::vector<arrays::Array>& examples) {
  arrays::Array joined = examples.front();
  for (std::size_t i = 1; i < examples.size(); ++i) {
    joined.shape[0] += examples[i].shape[0];
    joined.data.insert(joined.data.end(), examples[i].data.begin(), examples[i].data.end());
  }
  return joined;
}

// Both runtimes on the same values. Ours runs the network in fp32, in int8 calibrated on the examples that gave the peer's QDQ
// form its ranges, and in that QDQ form.
class Bout {
 public:
  Bout(const BenchSize& size, const Network& network) : size_(size), network_(network) {
    const arrays::Array input = MakeInput(1, network.shape);
    std::vector<arrays::Array> examples;
    for (int i = 0; i < (size.small ? 1 : kCalibrationExamples); ++i) {
      examples.push_back(MakeInput(static_cast<std::uint64_t>(i) + 100, network.shape));
    }
    AddPeer(kPeer32, {Unit::kFma}, network.onnx, input);
    const Bytes qdq = Must(QuantizeQdq(network.folded, examples, network.boundary));
    const arrays::Array input8 = network.boundary == QdqBoundary::kUint8 ? QuantizedInput(input) : input;
    AddPeer(kPeer8, {Unit::kVnni, Unit::kAmxInt8}, qdq, input8);
    AddOurs(kOurs32, CompileAsIs(network.onnx, nullptr), input);
    AddOurs(kOursQdq, CompileAsIs(qdq, nullptr), input8);
    AddOurs(kOurs8, CompileInt8(network.name, network.onnx, {{network.input, Joined(examples)}}), input);
  }

  json Rows() {
    std::vector<std::function<void()>> tasks;
    for (const Runner& runner : runners_) tasks.emplace_back([&runner] { Must(runner.run()); });
    // The peaks take their turns, too: what slows the core down lowers both sides of a share.
    for (const Unit unit : kUnits) tasks.emplace_back([unit] { Burst(unit, kBurstRounds); });
    const Contest contest(size_, tasks);
    for (std::size_t i = 0; i < std::size(kUnits); ++i) {
      peaks_[kUnits[i]] = Burst(kUnits[i], kBurstRounds) / contest.Best(runners_.size() + i);
    }
    for (std::size_t i = 0; i < runners_.size(); ++i) AddTimes(runners_[i], contest.Median(i), contest.Best(i));
    AddRatio(contest, kOurs32, kPeer32, network_.fp32_max);
    for (const char* name : {kOurs8, kOursQdq}) {
      AddRatio(contest, name, kPeer8, network_.int8_max);
      AddRatio(contest, name, kOurs32, network_.int8_by_fp32_max);
    }
    for (const char* name : {kOurs32, kOurs8, kOursQdq, kPeer8}) AddAgreement(name);
    return rows_;
  }

 private:
  void AddPeer(const char* name, std::vector<Unit> units, ByteView model, const arrays::Array& input) {
    sessions_.push_back(Must(OrtSession::Load(model)));
    const auto run = std::make_shared<OrtRun>(Must(sessions_.back().Prepare({input})));
    const auto output = [run] {
      const std::vector<arrays::Array> outputs = Must(run->Outputs());
      const auto values = outputs[0].values<float>();
      return std::vector<float>(values.begin(), values.end());
    };
    runners_.push_back({name, std::move(units), [run] { return (*run)(); }, {}});
    if (input.type == arrays::ElementType::kFloat32) runners_.back().output = output;
  }

  void AddOurs(const char* name, Result<runtime::Graph> graph, const arrays::Array& input) {
    if (!graph) {
      rows_.push_back(Note(name, "not compiled: " + graph.error().ToString()));
      return;
    }
    rows_.push_back(Row(std::string(name) + ", file", static_cast<double>(Must(FileSize(*graph))) / 1e6, "MB"));
    auto created = OurRun::Create(std::move(*graph), {{network_.input, input}});
    if (!created) {
      rows_.push_back(Note(name, "does not run: " + created.error().ToString()));
      return;
    }
    const runtime::SessionInfo& info = created->session().info();
    rows_.push_back(Row(std::string(name) + ", coverage of " + info.delegate, info.coverage, "of the nodes"));
    const auto run = std::make_shared<OurRun>(std::move(*created));
    const std::vector<Unit> units = name == kOurs32 ? std::vector{Unit::kFma} : std::vector{Unit::kVnni, Unit::kAmxInt8};
    runners_.push_back({name, units, [run] { return (*run)(); }, {}});
    const runtime::Graph& shared = run->session().graph();
    if (shared.tensor(shared.outputs[0]).type == runtime::DataType::kFloat32) {
      runners_.back().output = [run] { return FloatsOf(run->outputs()[0]); };
    }
  }

  void AddTimes(const Runner& runner, double median, double best) {
    rows_.push_back(Row(runner.name, median * 1e3, "ms"));
    rows_.push_back(Row(runner.name + ", best", best * 1e3, "ms"));
    for (const Unit unit : runner.units) {
      if (peaks_[unit] == 0) continue;
      const double share = network_.macs / best / peaks_[unit];
      const std::string name = runner.name + " by the peak of " + NameOf(unit);
      const bool bar = network_.vnni_share_min && unit == Unit::kVnni && runner.name == kOurs8;
      rows_.push_back(bar ? RowAtLeast(size_, name, share, "of the peak", *network_.vnni_share_min)
                          : Row(name, share, "of the peak"));
    }
  }

  const Runner* Find(const char* name, std::size_t& index) const {
    index = static_cast<std::size_t>(std::ranges::find(runners_, name, &Runner::name) - runners_.begin());
    return index < runners_.size() ? &runners_[index] : nullptr;
  }

  void AddRatio(const Contest& contest, const char* ours, const char* other, std::optional<double> bar) {
    std::size_t a = 0, b = 0;
    if (Find(ours, a) == nullptr || Find(other, b) == nullptr) return;
    const std::string name = std::string(ours) + " / " + other;
    const double ratio = contest.Ratio(a, b);
    rows_.push_back(bar ? RowAtMost(size_, name, ratio, "of the time", *bar) : Row(name, ratio, "of the time"));
  }

  // That all compute the same function, and what int8 costs.
  void AddAgreement(const char* name) {
    std::size_t index = 0;
    const Runner* runner = Find(name, index);
    if (runner == nullptr || !runner->output) return;
    const std::vector<float> reference = Find(kPeer32, index)->output(), values = runner->output();
    if (reference.size() != values.size()) {
      rows_.push_back(Note(name, "has outputs of another size"));
      return;
    }
    rows_.push_back(Row(std::string(name) + " beside " + kPeer32, SnrDecibels(reference, values), "dB"));
  }

  const BenchSize& size_;
  const Network& network_;
  json rows_ = json::array();
  std::vector<OrtSession> sessions_;
  std::vector<Runner> runners_;
  std::map<Unit, double> peaks_;  // multiply-accumulates a second, 0 without the unit
};

}  // namespace

json PeaksSection(const BenchSize& size) {
  json rows = json::array();
  for (const Unit unit : {Unit::kFma, Unit::kBf16, Unit::kVnni, Unit::kAmxBf16, Unit::kAmxInt8}) {
    const std::optional<double> peak = PeakMacs(unit, size.small ? 1 : 25);
    rows.push_back(peak ? Row(NameOf(unit), *peak / 1e9, "GMAC/s") : Note(NameOf(unit), "this machine has no such unit"));
  }
  return rows;
}

json MobileNetSection(const BenchSize& size) {
  Network network{.name = "mobilenet_v2", .input = "image", .shape = {1, 3, 224, 224}, .macs = 300.8e6};
  network.onnx = MakeMobileNetV2(1, BatchNorms::kNodes);
  network.folded = MakeMobileNetV2(1, BatchNorms::kFolded);
  network.fp32_max = 1.0;
  network.int8_max = 0.85;
  network.int8_by_fp32_max = 0.40;
  return Bout(size, network).Rows();
}

json FedAvgCnnSection(const BenchSize& size) {
  constexpr double kMacs = 32.0 * 25 * 784 + 64.0 * 32 * 25 * 196 + 3136.0 * 512 + 512.0 * 10;
  Network network{.name = "fedavg_cnn", .input = "image", .shape = {1, 1, 28, 28}, .macs = kMacs};
  network.onnx = network.folded = MakeFedAvgCnn(1);
  network.int8_max = 0.75;
  return Bout(size, network).Rows();
}

json FedAvg2nnSection(const BenchSize& size) {
  constexpr double kMacs = 784.0 * 200 + 200.0 * 200 + 200.0 * 10;
  Network network{.name = "fedavg_2nn", .input = "image", .shape = {1, 1, 28, 28}, .macs = kMacs};
  network.onnx = network.folded = MakeFedAvg2nn(1);
  network.int8_max = 0.75;
  return Bout(size, network).Rows();
}

json GemmSection(const BenchSize& size) {
  Network network{.name = "gemm", .input = "x", .shape = {256, 1024}, .macs = 256.0 * 1024 * 1024};
  network.onnx = network.folded = MakeMatMul(1, 1024, 1024);
  network.boundary = QdqBoundary::kUint8;
  network.vnni_share_min = 0.95;
  return Bout(size, network).Rows();
}

}  // namespace edgefleet::load_tests
