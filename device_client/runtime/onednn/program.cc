#include "device_client/runtime/onednn/program.h"

#include <algorithm>

// OpenMP's C interface; <omp.h> would tie the compiler's OpenMP runtime to the one that oneDNN links.
extern "C" {
void omp_set_num_threads(int threads);
int omp_get_max_threads(void);
}

namespace edgefleet::runtime::onednn {

namespace {

// oneDNN 2.6's int8 convolutions on AMX tiles are wrong for some shapes (a case of the random graphs against the reference
// delegate shows one), so it uses what comes before AMX. The limit is refused only once a primitive exists, which needs this
// engine.
dnnl::engine MakeEngine() {
  dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_bf16);
  return {dnnl::engine::kind::cpu, 0};
}

}  // namespace

const dnnl::engine& Engine() {
  static const dnnl::engine engine = MakeEngine();
  return engine;
}

ThreadScope::ThreadScope(int threads) : former_(omp_get_max_threads()) { omp_set_num_threads(threads); }
ThreadScope::~ThreadScope() { omp_set_num_threads(former_); }

dnnl::memory::desc Plain(const Dims& dims, dnnl::memory::data_type type) {
  Dims strides(dims.size(), 1);
  for (std::size_t i = dims.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * dims[i];
  return {dims, type, strides};
}

dnnl::memory::desc AnyLayout(const Dims& dims, dnnl::memory::data_type type) {
  return {dims, type, dnnl::memory::format_tag::any};
}

dnnl::primitive_attr NewAttributes() {
  dnnl::primitive_attr attributes;
  // The library's own scratchpad is tied to the thread that creates a primitive; ours may run on any.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

View Program::NewSlot(Kind kind, const dnnl::memory::desc& desc, std::byte* data) {
  slots_.push_back({kind, {desc.get_size(), 0, 0}, false, data, {}});
  return {desc, slots_.size() - 1};
}

View Program::Temporary(const dnnl::memory::desc& desc) { return NewSlot(Kind::kTemporary, desc, nullptr); }
View Program::External(const dnnl::memory::desc& desc) { return NewSlot(Kind::kExternal, desc, nullptr); }
View Program::Borrowed(const dnnl::memory::desc& desc, const void* data) {
  return NewSlot(Kind::kFixed, desc, static_cast<std::byte*>(const_cast<void*>(data)));
}
View Program::Owned(const dnnl::memory& memory) {
  owned_.push_back(memory);
  owned_bytes_ += memory.get_desc().get_size();
  return NewSlot(Kind::kFixed, memory.get_desc(), static_cast<std::byte*>(memory.get_data_handle()));
}

void Program::Touch(std::size_t slot) {
  Lifetime& lifetime = slots_[slot].lifetime;
  if (!slots_[slot].used) lifetime.first = steps_.size();
  slots_[slot].used = true;
  lifetime.last = steps_.size();
}

void Program::AddScratchpad(const dnnl::memory::desc& desc, Arguments& arguments) {
  if (desc.get_size() > 0) arguments.emplace_back(DNNL_ARG_SCRATCHPAD, Temporary(desc));
}

void Program::AddPrimitive(dnnl::primitive primitive, Arguments arguments) {
  Step step;
  step.primitive = std::move(primitive);
  for (const auto& [argument, view] : arguments) {
    Touch(view.slot);
    dnnl::memory memory(view.desc, Engine(), DNNL_MEMORY_NONE);
    slots_[view.slot].memories.push_back(memory);
    step.arguments.emplace(argument, memory);
  }
  steps_.push_back(std::move(step));
}

void Program::AddNative(Native function, const std::vector<View>& views) {
  Step step;
  step.native = std::move(function);
  for (const View& view : views) {
    Touch(view.slot);
    step.slots.push_back(view.slot);
  }
  steps_.push_back(std::move(step));
}

void Program::Reorder(const View& from, const View& to, dnnl::primitive_attr attributes) {
  const dnnl::reorder::primitive_desc pd(Engine(), from.desc, Engine(), to.desc, attributes);
  Add<dnnl::reorder>(pd, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

View Program::Reordered(const View& from, const dnnl::memory::desc& desc) {
  if (from.desc == desc) return from;
  const View to = Temporary(desc);
  Reorder(from, to);
  return to;
}

Status Program::Finalize(std::size_t bytes_max) {
  if (owned_bytes_ > bytes_max) return ResourceExhausted("ARENA_TOO_LARGE", "the weights need more memory than is allowed");
  std::vector<Lifetime> lifetimes;
  std::vector<std::size_t> planned;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].kind != Kind::kTemporary || !slots_[i].used) continue;
    lifetimes.push_back(slots_[i].lifetime);
    planned.push_back(i);
  }
  EF_ASSIGN_OR_RETURN(const ArenaPlan plan, PlanArena(lifetimes, bytes_max - owned_bytes_));
  EF_ASSIGN_OR_RETURN(arena_, AlignedBuffer::Allocate(plan.bytes));
  for (std::size_t i = 0; i < planned.size(); ++i) slots_[planned[i]].data = arena_.data() + plan.offsets[i];
  for (Slot& slot : slots_) {
    if (slot.kind == Kind::kExternal) continue;
    for (dnnl::memory& memory : slot.memories) memory.set_data_handle(slot.data);
  }
  return OkStatus();
}

void Program::Bind(const View& external, std::byte* data) {
  Slot& slot = slots_[external.slot];
  if (slot.data == data) return;
  slot.data = data;
  for (dnnl::memory& memory : slot.memories) memory.set_data_handle(data);
}

Status Program::Run(dnnl::stream& stream) {
  std::vector<std::byte*> data;
  for (Step& step : steps_) {
    if (!step.native) {
      step.primitive.execute(stream, step.arguments);
      continue;
    }
    data.clear();
    for (const std::size_t slot : step.slots) data.push_back(slots_[slot].data);
    EF_RETURN_IF_ERROR(step.native(data));
  }
  stream.wait();
  return OkStatus();
}

View Constant(Program& program, const dnnl::memory::desc& from, const void* data, const dnnl::memory::desc& desc) {
  if (from == desc) return program.Borrowed(from, data);
  dnnl::memory source(from, Engine(), const_cast<void*>(data));
  dnnl::memory target(desc, Engine());
  dnnl::stream stream(Engine());
  dnnl::reorder(source, target).execute(stream, source, target);
  stream.wait();
  return program.Owned(target);
}

}  // namespace edgefleet::runtime::onednn
