#include "load_tests/runtime/ort/api.h"

#include <dlfcn.h>

#include "load_tests/runtime/npm_packages.h"

// What ONNX Runtime does not free at exit is not ours to find; LeakSanitizer asks for this.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libonnxruntime\n"; }

namespace edgefleet::load_tests::ort {
namespace {

constexpr std::uint32_t kApiVersion = 1;
constexpr int kSeverityError = 3;
#ifdef __aarch64__
constexpr const char* kLibrary = "bin/napi-v6/linux/arm64/libonnxruntime.so.1";
#else
constexpr const char* kLibrary = "bin/napi-v6/linux/x64/libonnxruntime.so.1";
#endif

// OrtApiBase: what the library's one exported function returns.
struct ApiBase {
  const void* const* (*get_api)(std::uint32_t version);
  const char* (*get_version)();
};

struct Library {
  Status status;
  const void* const* table = nullptr;
  Env* env = nullptr;
};

// The library stays open: its threads and tables must outlive every session.
Library& Global() {
  static Library library;
  return library;
}

Status Open(Library& library) {
  EF_ASSIGN_OR_RETURN(const std::filesystem::path path, NpmFile("onnxruntime-node", kLibrary));
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return Internal("ORT_UNUSABLE", std::string("ONNX Runtime does not load: ") + ::dlerror());
  const auto get_base = reinterpret_cast<const ApiBase* (*)()>(::dlsym(handle, "OrtGetApiBase"));
  if (get_base == nullptr) return Internal("ORT_UNUSABLE", path.string() + " has no OrtGetApiBase");
  library.table = get_base()->get_api(kApiVersion);
  if (library.table == nullptr) {
    return Internal("ORT_UNUSABLE", std::string("ONNX Runtime ") + get_base()->get_version() + " has no API version 1");
  }
  return Check(CreateEnv(kSeverityError, "edgefleet", &library.env));
}

}  // namespace

Status OpenLibrary() {
  static const bool opened = [] {
    Global().status = Open(Global());
    return true;
  }();
  (void)opened;
  return Global().status;
}

const Env* GlobalEnv() { return Global().env; }

const void* const* Table() { return Global().table; }

Status Check(ApiStatus* status) {
  if (status == nullptr) return OkStatus();
  Status error = Internal("ORT_FAILED", std::string("ONNX Runtime: ") + GetErrorMessage(status));
  ReleaseStatus(status);
  return error;
}

}  // namespace edgefleet::load_tests::ort
