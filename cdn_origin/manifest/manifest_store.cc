#include "cdn_origin/manifest/manifest_store.h"

#include <algorithm>
#include <memory>
#include <system_error>

#include "base/crypto/crypto.h"
#include "base/file.h"
#include "cdn_origin/manifest/manifest.h"

namespace edgefleet::manifest {
namespace {

// One flat folder: a manifest "a" and another "a/b" may both exist. No path has a '%' of its own (CheckPath), so what does not
// end with one is a left-over of an interrupted write.
std::string FileName(std::string_view path) {
  std::string name;
  for (char c : path) name += c == '/' ? '%' : c;
  return name + '%';
}

std::string EtagOf(ByteView envelope) { return "\"" + crypto::Sha256Hex(envelope) + "\""; }

Status CheckFollows(ByteView former, std::uint64_t sequence, ByteView envelope) {
  if (std::ranges::equal(former, envelope)) return OkStatus();
  const auto present = ReadUnverified(former);
  if (present && sequence <= present->sequence) {
    return FailedPrecondition("STALE_SEQUENCE", "sequence " + std::to_string(present->sequence) +
                                                    " is published there; a new manifest needs a higher one");
  }
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<ManifestStore>> ManifestStore::Open(std::filesystem::path dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return Internal("FILE_IO", "create " + dir.string() + ": " + error.message());
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    if (!entry.path().native().ends_with('%')) std::filesystem::remove(entry.path(), error);
  }
  return std::unique_ptr<ManifestStore>(new ManifestStore(std::move(dir)));
}

Result<std::string> ManifestStore::Put(std::string_view path, std::uint64_t sequence, ByteView envelope) {
  EF_RETURN_IF_ERROR(CheckPath(path));
  EF_ASSIGN_OR_RETURN(const Manifest manifest, ReadUnverified(envelope));
  if (manifest.sequence != sequence) {
    return InvalidArgument("BAD_MANIFEST", "the manifest's own sequence is " + std::to_string(manifest.sequence));
  }
  std::lock_guard lock(mutex_);
  const auto present = Get(path);
  if (!present && present.error().code() != StatusCode::kNotFound) return MakeError(present.error());
  if (present) EF_RETURN_IF_ERROR(CheckFollows(present->envelope, sequence, envelope));
  EF_RETURN_IF_ERROR(WriteFileAtomic(dir_ / FileName(path), envelope));
  return EtagOf(envelope);
}

Result<StoredManifest> ManifestStore::Get(std::string_view path) const {
  EF_RETURN_IF_ERROR(CheckPath(path));
  auto envelope = ReadFile(dir_ / FileName(path), kEnvelopeBytesMax);
  if (!envelope && envelope.error().code() == StatusCode::kNotFound) {
    return NotFound("MANIFEST_UNKNOWN", "no manifest at " + std::string(path));
  }
  if (!envelope) return MakeError(envelope.error());
  return StoredManifest{*envelope, EtagOf(*envelope)};
}

}  // namespace edgefleet::manifest
