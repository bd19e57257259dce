// What a device has on disk. One folder holds, for each model, the active version, the last good one before it and what is
// being fetched, and a bounded cache of other versions' files; nothing else is kept. `state.json` is replaced atomically and
// carries a format version; files are named by their digest and complete before state.json names them, so a crash at any point
// leaves a whole state.
//
//   state.json, lock
//   files/<sha256>            complete, verified files that state.json names
//   pending/<scope>/...       downloads under way
//   manifests/<sha256 of the manifest's path>   the last accepted envelope
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/file_handle.h"
#include "base/status.h"

namespace edgefleet::update {

struct StoreState;

struct InstalledVariant {
  std::string name;       // "int8"
  std::string precision;  // "int8"
  bool trainable = false;
  crypto::Sha256Digest sha256{};
  std::uint64_t size = 0;
  std::filesystem::path file;
};

struct InstalledVersion {
  std::string model;
  std::uint64_t version = 0;
  std::vector<InstalledVariant> variants;
  // Nothing when that variant is not installed.
  const InstalledVariant* Find(std::string_view variant) const;
};

// The manifest that was accepted last from one path.
struct ManifestMark {
  std::uint64_t sequence = 0;  // 0: none yet
  std::string etag;
};

// A version that has been fetched and is about to be tested.
struct Trial {
  InstalledVersion version;
  std::uint64_t sequence = 0;  // of its manifest
  std::uint32_t starts = 0;    // self-tests begun; more than one means the process died in them
};

// A version that failed here; not tried again under the same manifest.
struct RejectedVersion {
  std::uint64_t version = 0;
  std::uint64_t sequence = 0;
};

// Thread-safe. Files of a version that is replaced stay usable for whoever has them open or mapped.
class ModelStore {
 public:
  // Creates the folder if need be and removes left-overs. Works offline. FAILED_PRECONDITION [STATE_DIR_IN_USE] while another
  // process or object has it open, [STATE_TOO_NEW] when later software wrote it; DATA_LOSS [BAD_STATE] when state.json is
  // damaged.
  static Result<std::unique_ptr<ModelStore>> Open(std::filesystem::path dir);
  ~ModelStore();
  ModelStore(const ModelStore&) = delete;
  ModelStore& operator=(const ModelStore&) = delete;

  // What inference and training use. A version whose files are gone or short does not count.
  std::optional<InstalledVersion> Active(std::string_view model) const;
  std::optional<InstalledVersion> LastGood(std::string_view model) const;
  std::vector<std::string> Models() const;

  // The rest is for the updater (updater.h).

  ManifestMark Mark(std::string_view manifest_path) const;
  // The envelope that belongs to the mark; nothing when it is gone.
  std::optional<Bytes> Envelope(std::string_view manifest_path) const;
  // Durable before it returns. A sequence below the present mark's is FAILED_PRECONDITION [STALE_MANIFEST].
  Status Accept(std::string_view manifest_path, const ManifestMark& mark, ByteView envelope);

  // A complete file with this digest, whoever it belongs to.
  std::optional<std::filesystem::path> FindFile(const crypto::Sha256Digest& sha256) const;
  // The folder for downloads of one scope (a model's name, or "cache"), emptied of all files but those in `keep`.
  Result<std::filesystem::path> PreparePending(std::string_view scope, const std::set<std::string>& keep);

  // Moves the version's files from `pending` (named by digest; those already complete stay where they are) and records it as
  // the model's trial, counting its starts. The InstalledVariants' `file` members are filled in.
  Result<Trial> Stage(InstalledVersion version, std::uint64_t sequence, const std::filesystem::path& pending);
  std::optional<Trial> Staged(std::string_view model) const;
  // The trial becomes active, the active version last good, the former last good goes. One atomic step.
  Status Activate(std::string_view model);
  // The trial goes and is remembered as rejected.
  Status RejectTrial(std::string_view model);
  std::optional<RejectedVersion> Rejected(std::string_view model) const;
  // The last good version becomes active again; the one it replaces is rejected under `sequence`.
  // FAILED_PRECONDITION [NO_LAST_GOOD] without one.
  Status RollBack(std::string_view model, std::uint64_t sequence);

  // One file of the cache, or of the model's installed versions.
  std::optional<InstalledVariant> FindCached(std::string_view model, std::uint64_t version, std::string_view variant);
  // Moves `file` into the cache, dropping the least recently used entries above `bytes_max` in all.
  // RESOURCE_EXHAUSTED [CACHE_TOO_SMALL] when it alone is larger.
  Result<InstalledVariant> AddCached(std::string_view model, std::uint64_t version, InstalledVariant variant,
                                     const std::filesystem::path& file, std::uint64_t bytes_max);

 private:
  ModelStore(std::filesystem::path dir, FileHandle lock);

  // Writes `next` and makes it the present state, then removes the files that it no longer names.
  Status Commit(StoreState next);
  void RemoveUnnamedFiles() const;
  void DropBroken(StoreState& state) const;
  bool Whole(const InstalledVersion& version) const;
  std::filesystem::path FilePath(const crypto::Sha256Digest& sha256) const;
  std::optional<InstalledVersion> WithFiles(std::optional<InstalledVersion> version) const;
  // Moves a complete file to its place among `files`, unless one is there.
  Status Adopt(const std::filesystem::path& file, const crypto::Sha256Digest& sha256) const;

  const std::filesystem::path dir_;
  const FileHandle lock_;
  mutable std::mutex mutex_;
  std::unique_ptr<StoreState> state_;
};

}  // namespace edgefleet::update
