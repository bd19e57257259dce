#include "cdn_origin/delta/encoder.h"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <memory>

#include "base/mapped_output.h"

namespace edgefleet::delta {
namespace {

constexpr std::uint64_t kInputBytesMax = 4ULL << 30;
// Level 19 searches hard, which small files can afford; above this size it would take minutes.
constexpr std::uint64_t kThoroughBytesMax = 64ULL << 20;
constexpr int kThoroughLevel = 19;
constexpr int kQuickLevel = 9;
// From this window on, matches are too far apart for the usual tables.
constexpr int kLongDistanceWindowLog = 25;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

// The smallest window from which the end of `to` still reaches the start of `from`.
int WindowLog(ByteView from, ByteView to) {
  const ZSTD_bounds bounds = ZSTD_cParam_getBounds(ZSTD_c_windowLog);
  return std::clamp<int>(static_cast<int>(std::bit_width(from.size() + to.size())), bounds.lowerBound, bounds.upperBound);
}

bool Configure(ZSTD_CCtx* context, ByteView from, ByteView to) {
  const int level = to.size() <= kThoroughBytesMax ? kThoroughLevel : kQuickLevel;
  const int window_log = WindowLog(from, to);
  const auto set = [&](ZSTD_cParameter parameter, int value) {
    return !ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value));
  };
  return set(ZSTD_c_compressionLevel, level) && set(ZSTD_c_windowLog, window_log) && set(ZSTD_c_checksumFlag, 1) &&
         (window_log < kLongDistanceWindowLog || set(ZSTD_c_enableLongDistanceMatching, 1)) &&
         !ZSTD_isError(ZSTD_CCtx_refPrefix(context, from.data(), from.size()));
}

}  // namespace

Result<EncodedDelta> Encode(ByteView from, ByteView to, const std::filesystem::path& out) {
  for (const ByteView input : {from, to}) {
    if (input.empty() || input.size() > kInputBytesMax) {
      return InvalidArgument("BAD_DELTA_INPUT", "deltas are made between files of 1 byte to 4 GiB");
    }
  }
  std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  if (!context || !Configure(context.get(), from, to)) return Internal("ZSTD", "zstd refused its parameters");
  EF_ASSIGN_OR_RETURN(auto output, MappedOutput::Create(out, ZSTD_compressBound(to.size())));
  const auto bytes = output->bytes();
  const std::size_t size = ZSTD_compress2(context.get(), bytes.data(), bytes.size(), to.data(), to.size());
  if (ZSTD_isError(size)) return Internal("ZSTD", std::string("zstd failed: ") + ZSTD_getErrorName(size));
  const EncodedDelta encoded{crypto::Sha256(bytes.first(size)), size};
  EF_RETURN_IF_ERROR(output->Commit(size));
  return encoded;
}

}  // namespace edgefleet::delta
