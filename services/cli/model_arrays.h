// Files of arrays as a model's inputs and outputs, by the names they have in the graph.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/arrays/array.h"
#include "base/arrays/npz.h"
#include "base/file.h"
#include "base/status.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::cli {

// An input of a graph.
struct InputPort {
  std::string name;
  arrays::ElementType type = arrays::ElementType::kFloat32;
  std::vector<std::int64_t> shape;   // default sizes
  std::vector<std::string> symbols;  // of each dimension; "" where it is fixed

  // Dimension 0 counts examples.
  bool batched() const;
  std::string ToString() const;  // "float32 [examples, 1, 28, 28]"
};

// UNIMPLEMENTED [TYPE_UNSUPPORTED] for a type that .npy files do not have.
Result<arrays::ElementType> ElementTypeFor(const runtime::Tensor& tensor);
Result<std::vector<InputPort>> InputPorts(const runtime::Graph& graph);

// The inputs of a model from an .npz, or from the .npy of a model with one input, read a few examples at a time. For a model
// without a dimension that counts examples, arrays that are k times as long as the inputs hold k examples, one after the other
// in dimension 0 (a scalar's: [k]); the others, of just the inputs' shapes, are the same for all.
class InputArrays {
 public:
  // INVALID_ARGUMENT [BAD_INPUT] names the array that is missing or does not fit, what it is and what is wanted; or an error of
  // NpzReader or NpyFile.
  static Result<InputArrays> Open(const std::filesystem::path& path, const runtime::Graph& graph);

  std::int64_t examples() const { return examples_; }
  // There are several, and the model takes one at a time.
  bool repeated() const { return repeated_; }
  // Whether examples can be read a few at a time: they are dimension 0 wherever they are counted.
  bool splittable() const { return splittable_; }
  // Of the other dynamic dimensions, by symbol.
  const std::map<std::string, std::int64_t>& sizes() const { return sizes_; }
  // Arrays that no input has the name of.
  const std::vector<std::string>& ignored() const { return ignored_; }
  // The next `count` examples of each input; the whole of one that is the same for all. INVALID_ARGUMENT [BAD_INPUT] for NaN.
  Status Read(std::int64_t count, std::vector<Bytes>& buffers);

 private:
  Status OpenStreams(const std::filesystem::path& path);
  Status Fit(const runtime::Graph& graph);
  Status FitArray(std::size_t index, bool may_repeat);

  std::vector<InputPort> ports_;
  std::vector<std::int64_t> rows_;  // of an example, in dimension 0 of each port's array; 0: the array is the same for all
  std::shared_ptr<const MappedFile> file_;
  std::unique_ptr<arrays::NpzReader> archive_;
  std::vector<std::unique_ptr<arrays::ArrayStream>> streams_;  // one a port
  std::vector<std::string> ignored_;
  std::map<std::string, std::int64_t> sizes_;
  std::int64_t examples_ = 1;
  std::int64_t done_ = 0;
  bool splittable_ = true;
  bool repeated_ = false;
};

// Where a result shall go: refused before the work begins if it cannot be written there. NOT_FOUND [FILE_MISSING],
// PERMISSION_DENIED [FILE_DENIED], INVALID_ARGUMENT [NOT_A_FILE | NOT_A_FOLDER].
Status CheckWritable(const std::filesystem::path& path);

// An .npz; a .npy if `path` ends so and there is one array. The file appears whole or not at all.
Status WriteArrays(const std::filesystem::path& path, const arrays::Archive& archive);

}  // namespace edgefleet::cli
