// A list of oneDNN primitives over planned memory: what both the inference delegate and the trainer execute. Internal to the
// adapters that link oneDNN.
#pragma once

#include <cstddef>
#include <dnnl.hpp>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/arena.h"

namespace edgefleet::runtime::onednn {

const dnnl::engine& Engine();

// Sets the number of OpenMP threads that oneDNN uses on this thread, for a scope. Building and running a program must see the
// same number.
class ThreadScope {
 public:
  explicit ThreadScope(int threads);
  ~ThreadScope();
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int former_;
};

// Runs `body` (returning Status) and turns oneDNN's exceptions into INTERNAL with this reason.
template <typename Body>
Status Guard(const char* reason, Body&& body) {
  try {
    return body();
  } catch (const dnnl::error& error) {
    return Internal(reason, std::string("oneDNN: ") + error.what());
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("OUT_OF_MEMORY", "no memory is left for oneDNN");
  }
}

using Dims = dnnl::memory::dims;

// Row-major.
dnnl::memory::desc Plain(const Dims& dims, dnnl::memory::data_type type);
// Whatever layout the primitive likes best.
dnnl::memory::desc AnyLayout(const Dims& dims, dnnl::memory::data_type type);
dnnl::primitive_attr NewAttributes();

// A layout on a slot of memory.
struct View {
  dnnl::memory::desc desc;
  std::size_t slot = 0;
};

// Built once: slots, then steps, then Finalize(); afterwards Bind() and Run(). Thread-compatible. Methods throw dnnl::error.
class Program {
 public:
  using Arguments = std::vector<std::pair<int, View>>;

  // Planned by its first and last step; holds nothing between runs.
  View Temporary(const dnnl::memory::desc& desc);
  // The caller's memory, given with Bind() before Run().
  View External(const dnnl::memory::desc& desc);
  // The caller's memory, which the program only reads and which outlives it.
  View Borrowed(const dnnl::memory::desc& desc, const void* data);
  // Memory of its own that keeps its content.
  View Owned(const dnnl::memory& memory);

  // `pd` was made with NewAttributes(), so that its scratch memory is planned like any other.
  template <typename Primitive, typename PrimitiveDesc>
  void Add(const PrimitiveDesc& pd, Arguments arguments) {
    AddScratchpad(pd.scratchpad_desc(), arguments);
    AddPrimitive(Primitive(pd), std::move(arguments));
  }
  // A step of our own over the slots' bytes, in the order of `views`.
  using Native = std::function<Status(const std::vector<std::byte*>&)>;
  void AddNative(Native function, const std::vector<View>& views);

  // `from` in another layout (itself if it has it already).
  View Reordered(const View& from, const dnnl::memory::desc& desc);
  void Reorder(const View& from, const View& to, dnnl::primitive_attr attributes = NewAttributes());

  // Plans and allocates. RESOURCE_EXHAUSTED [ARENA_TOO_LARGE | OUT_OF_MEMORY].
  Status Finalize(std::size_t bytes_max);
  void Bind(const View& external, std::byte* data);
  // An error is that of a native step.
  Status Run(dnnl::stream& stream);
  std::size_t bytes() const { return arena_.size() + owned_bytes_; }

 private:
  enum class Kind { kTemporary, kExternal, kFixed };
  struct Slot {
    Kind kind;
    Lifetime lifetime;
    bool used = false;
    std::byte* data = nullptr;
    std::vector<dnnl::memory> memories;
  };
  struct Step {
    dnnl::primitive primitive;
    std::unordered_map<int, dnnl::memory> arguments;
    Native native;
    std::vector<std::size_t> slots;
  };

  View NewSlot(Kind kind, const dnnl::memory::desc& desc, std::byte* data);
  void Touch(std::size_t slot);
  void AddScratchpad(const dnnl::memory::desc& desc, Arguments& arguments);
  void AddPrimitive(dnnl::primitive primitive, Arguments arguments);

  std::vector<Slot> slots_;
  std::vector<Step> steps_;
  std::vector<dnnl::memory> owned_;
  std::size_t owned_bytes_ = 0;
  AlignedBuffer arena_;
};

// `data` in the layout `desc`: borrowed in place if it has it already, a reordered copy otherwise. Executes at once.
View Constant(Program& program, const dnnl::memory::desc& from, const void* data, const dnnl::memory::desc& desc);

}  // namespace edgefleet::runtime::onednn
