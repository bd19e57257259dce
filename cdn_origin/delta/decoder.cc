#include "cdn_origin/delta/decoder.h"

#include <zstd.h>

#include <memory>

#include "base/mapped_output.h"

namespace edgefleet::delta {
namespace {

struct FreeContext {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

Error BadPatch(const std::string& what) {
  return InvalidArgument("BAD_PATCH", "the patch " + what + "; fetch it again or fetch the full file");
}

// One whole frame that announces the expected size, before anything is decoded.
Status CheckFrame(ByteView patch, std::uint64_t size) {
  if (ZSTD_getFrameContentSize(patch.data(), patch.size()) != size) return BadPatch("does not announce the expected size");
  if (ZSTD_findFrameCompressedSize(patch.data(), patch.size()) != patch.size())
    return BadPatch("is not exactly one zstd frame");
  return OkStatus();
}

}  // namespace

Status Apply(ByteView base, ByteView patch, const ExpectedFile& expected, const std::filesystem::path& out) {
  if (expected.size == 0) return BadPatch("is for an empty file");
  EF_RETURN_IF_ERROR(CheckFrame(patch, expected.size));
  std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (!context) return ResourceExhausted("OUT_OF_MEMORY", "no memory for zstd");
  EF_ASSIGN_OR_RETURN(auto output, MappedOutput::Create(out, expected.size));
  const auto bytes = output->bytes();
  if (ZSTD_isError(ZSTD_DCtx_refPrefix(context.get(), base.data(), base.size()))) return BadPatch("has an unusable base");
  const std::size_t made = ZSTD_decompressDCtx(context.get(), bytes.data(), bytes.size(), patch.data(), patch.size());
  // zstd's own checksum covers the result, so another base usually shows here already.
  if (ZSTD_isError(made)) return BadPatch(std::string("does not decode over this base: ") + ZSTD_getErrorName(made));
  if (made != expected.size || crypto::Sha256(bytes) != expected.sha256) {
    return DataLoss("WRONG_DELTA_RESULT", "the patch yields other bytes than the signed metadata names; fetch the full file");
  }
  return output->Commit(made);
}

}  // namespace edgefleet::delta
