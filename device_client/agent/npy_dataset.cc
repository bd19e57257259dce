#include "device_client/agent/npy_dataset.h"

#include <charconv>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

namespace edgefleet::agent {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kHeaderBytesMax = 64 * 1024;
constexpr std::size_t kDimensionsMax = 8;

Error Bad(const std::string& what) { return InvalidArgument("BAD_NPY", what); }

// The text after `'key':` in the header, which is a Python dictionary literal.
Result<std::string_view> Value(std::string_view header, std::string_view key) {
  const auto at = header.find("'" + std::string(key) + "'");
  const auto colon = at == std::string_view::npos ? at : header.find(':', at);
  if (colon == std::string_view::npos) return Bad("the header has no '" + std::string(key) + "'");
  auto value = header.substr(colon + 1);
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return value;
}

Result<std::vector<std::size_t>> ParseShape(std::string_view text) {
  const auto end = text.find(')');
  if (text.empty() || text.front() != '(' || end == std::string_view::npos) return Bad("the shape is not a tuple");
  std::vector<std::size_t> shape;
  text = text.substr(1, end - 1);
  while (true) {
    const auto digit = text.find_first_of("0123456789");
    if (digit == std::string_view::npos) return shape;
    text.remove_prefix(digit);
    std::size_t dimension = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), dimension);
    if (error != std::errc() || shape.size() == kDimensionsMax) return Bad("the shape is absurd");
    shape.push_back(dimension);
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  }
}

Result<std::size_t> CheckedElements(const std::vector<std::size_t>& shape) {
  std::size_t elements = 1;
  for (const std::size_t dimension : shape) {
    if (dimension != 0 && elements > (std::numeric_limits<std::size_t>::max() / 16) / dimension)
      return Bad("the shape is absurd");
    elements *= dimension;
  }
  return elements;
}

// {header text, data} of the file.
Result<std::pair<std::string_view, ByteView>> Split(ByteView bytes) {
  const std::string_view text = AsText(bytes);
  if (bytes.size() < 12 || text.substr(0, kMagic.size()) != kMagic) return Bad("not a .npy file");
  const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(bytes[i]); };
  const bool wide = byte(6) >= 2;
  const std::size_t start = wide ? 12 : 10;
  const std::size_t size = wide ? byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24 : byte(8) | byte(9) << 8;
  if (size > kHeaderBytesMax || start + size > bytes.size()) return Bad("the header is cut off");
  return std::pair{text.substr(start, size), bytes.subspan(start + size)};
}

template <typename Integer>
std::vector<std::int32_t> ReadLabels(const NpyArray& array) {
  std::vector<std::int32_t> labels(array.elements());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    Integer value;
    std::memcpy(&value, array.data.data() + i * sizeof value, sizeof value);
    // What does not fit becomes -1, which training refuses as BAD_LABEL.
    labels[i] = value >= 0 && value <= std::numeric_limits<std::int32_t>::max() ? static_cast<std::int32_t>(value) : -1;
  }
  return labels;
}

}  // namespace

std::size_t NpyArray::elements() const {
  std::size_t elements = 1;
  for (const std::size_t dimension : shape) elements *= dimension;
  return elements;
}

Result<NpyArray> NpyArray::Open(const std::filesystem::path& path) {
  NpyArray array;
  EF_ASSIGN_OR_RETURN(array.file, MappedFile::Open(path));
  EF_ASSIGN_OR_RETURN(const auto parts, Split(array.file->bytes()));
  EF_ASSIGN_OR_RETURN(const auto order, Value(parts.first, "fortran_order"));
  if (order.substr(0, 5) != "False") return Bad(path.string() + " is in Fortran order; save it in C order");
  EF_ASSIGN_OR_RETURN(const auto descr, Value(parts.first, "descr"));
  if (descr.size() < 5 || descr.front() != '\'') return Bad(path.string() + " has no simple dtype");
  array.dtype = std::string(descr.substr(1, 3));
  if (array.dtype != "<f4" && array.dtype != "<i4" && array.dtype != "<i8") {
    return Bad(path.string() + " has dtype " + array.dtype + "; float32, int32 and int64 are read");
  }
  EF_ASSIGN_OR_RETURN(const auto shape, Value(parts.first, "shape"));
  EF_ASSIGN_OR_RETURN(array.shape, ParseShape(shape));
  EF_ASSIGN_OR_RETURN(const std::size_t elements, CheckedElements(array.shape));
  const std::size_t size = elements * static_cast<std::size_t>(array.dtype[2] - '0');
  if (parts.second.size() < size) return Bad(path.string() + " is cut off");
  array.data = parts.second.first(size);
  return array;
}

Result<std::unique_ptr<NpyDataset>> NpyDataset::Open(const std::filesystem::path& examples,
                                                     const std::filesystem::path& labels) {
  auto dataset = std::make_unique<NpyDataset>();
  EF_ASSIGN_OR_RETURN(dataset->examples_, NpyArray::Open(examples));
  EF_ASSIGN_OR_RETURN(const auto label_array, NpyArray::Open(labels));
  const auto& shape = dataset->examples_.shape;
  if (dataset->examples_.dtype != "<f4" || shape.empty())
    return Bad(examples.string() + " must be float32 with one row an example");
  if (label_array.dtype == "<f4" || label_array.shape.size() != 1 || label_array.shape[0] != shape[0]) {
    return Bad(labels.string() + " must hold one integer for each example");
  }
  if (shape[0] > 0) dataset->example_size_ = dataset->examples_.elements() / shape[0];
  dataset->labels_ = label_array.dtype == "<i8" ? ReadLabels<std::int64_t>(label_array) : ReadLabels<std::int32_t>(label_array);
  return dataset;
}

void NpyDataset::CopyExample(std::size_t index, std::span<float> out) const {
  std::memcpy(out.data(), examples_.data.data() + index * example_size_ * sizeof(float), example_size_ * sizeof(float));
}

}  // namespace edgefleet::agent
