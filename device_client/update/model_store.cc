#include "device_client/update/model_store.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "device_client/update/store_state.h"

namespace edgefleet::update {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kEnvelopeBytesMax = 1024 * 1024;
constexpr char kTemporaryMark[] = ".tmp-";  // of WriteFileAtomic

Error TooMany(const std::string& what) {
  return ResourceExhausted("STATE_FULL", "the state folder has no room for another " + what);
}

std::string EnvelopeName(std::string_view manifest_path) { return crypto::Sha256Hex(AsBytes(manifest_path)); }

void RemoveTemporaries(const fs::path& dir) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    if (entry.path().native().find(kTemporaryMark) != std::string::npos) fs::remove(entry.path(), error);
  }
}

Status MakeFolders(const fs::path& dir) {
  std::error_code error;
  for (const char* name : {"files", "pending", "manifests"}) {
    fs::create_directories(dir / name, error);
    if (error) return Internal("FILE_IO", "create " + (dir / name).string() + ": " + error.message());
  }
  return OkStatus();
}

Result<StoreState> LoadState(const fs::path& file) {
  const auto text = ReadFile(file, kStateBytesMax);
  if (!text && text.error().code() == StatusCode::kNotFound) return StoreState{};
  if (!text) return MakeError(text.error());
  return ParseState(*text);
}

}  // namespace

const InstalledVariant* InstalledVersion::Find(std::string_view variant) const {
  const auto found = std::find_if(variants.begin(), variants.end(), [&](const auto& entry) { return entry.name == variant; });
  return found == variants.end() ? nullptr : &*found;
}

ModelStore::ModelStore(fs::path dir, FileHandle lock) : dir_(std::move(dir)), lock_(std::move(lock)) {}
ModelStore::~ModelStore() = default;

Result<std::unique_ptr<ModelStore>> ModelStore::Open(fs::path dir) {
  EF_RETURN_IF_ERROR(MakeFolders(dir));
  FileHandle lock(::open((dir / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644), 0);
  if (lock.fd() < 0) return MakeError(FileError("open", dir / "lock", errno));
  if (::flock(lock.fd(), LOCK_EX | LOCK_NB) != 0) {
    return FailedPrecondition("STATE_DIR_IN_USE", dir.string() + " is open elsewhere; a state folder serves one device");
  }
  RemoveTemporaries(dir);
  RemoveTemporaries(dir / "manifests");
  EF_ASSIGN_OR_RETURN(StoreState state, LoadState(dir / "state.json"));
  std::unique_ptr<ModelStore> store(new ModelStore(std::move(dir), std::move(lock)));
  store->DropBroken(state);
  store->state_ = std::make_unique<StoreState>(std::move(state));
  store->RemoveUnnamedFiles();
  return store;
}

fs::path ModelStore::FilePath(const crypto::Sha256Digest& sha256) const { return dir_ / "files" / HexEncode(sha256); }

bool ModelStore::Whole(const InstalledVersion& version) const {
  return std::all_of(version.variants.begin(), version.variants.end(), [&](const auto& variant) {
    std::error_code error;
    return fs::file_size(FilePath(variant.sha256), error) == variant.size && !error;
  });
}

// What a damaged disk or a hand took away is forgotten, so that it is fetched again.
void ModelStore::DropBroken(StoreState& state) const {
  for (auto& [name, model] : state.models) {
    if (model.trial && !Whole(model.trial->version)) model.trial.reset();
    if (model.last_good && !Whole(*model.last_good)) model.last_good.reset();
    if (model.active && !Whole(*model.active)) model.active = std::exchange(model.last_good, std::nullopt);
  }
  std::erase_if(state.cache, [&](const CacheEntry& entry) { return !Whole({entry.model, entry.version, {entry.variant}}); });
}

void ModelStore::RemoveUnnamedFiles() const {
  std::set<std::string> named;
  const auto name_all = [&](const std::optional<InstalledVersion>& version) {
    if (!version) return;
    for (const auto& variant : version->variants) named.insert(HexEncode(variant.sha256));
  };
  for (const auto& [name, model] : state_->models) {
    name_all(model.active);
    name_all(model.last_good);
    if (model.trial) name_all(model.trial->version);
  }
  for (const auto& entry : state_->cache) named.insert(HexEncode(entry.variant.sha256));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir_ / "files", error)) {
    if (!named.contains(entry.path().filename())) fs::remove(entry.path(), error);
  }
}

Status ModelStore::Commit(StoreState next) {
  EF_RETURN_IF_ERROR(WriteFileAtomic(dir_ / "state.json", AsBytes(StateText(next))));
  *state_ = std::move(next);
  RemoveUnnamedFiles();
  return OkStatus();
}

std::optional<InstalledVersion> ModelStore::WithFiles(std::optional<InstalledVersion> version) const {
  if (!version || !Whole(*version)) return std::nullopt;
  for (auto& variant : version->variants) variant.file = FilePath(variant.sha256);
  return version;
}

std::optional<InstalledVersion> ModelStore::Active(std::string_view model) const {
  std::lock_guard lock(mutex_);
  const auto found = state_->models.find(model);
  return found == state_->models.end() ? std::nullopt : WithFiles(found->second.active);
}

std::optional<InstalledVersion> ModelStore::LastGood(std::string_view model) const {
  std::lock_guard lock(mutex_);
  const auto found = state_->models.find(model);
  return found == state_->models.end() ? std::nullopt : WithFiles(found->second.last_good);
}

std::vector<std::string> ModelStore::Models() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, model] : state_->models) names.push_back(name);
  return names;
}

ManifestMark ModelStore::Mark(std::string_view manifest_path) const {
  std::lock_guard lock(mutex_);
  const auto found = state_->manifests.find(manifest_path);
  return found == state_->manifests.end() ? ManifestMark{} : found->second;
}

std::optional<Bytes> ModelStore::Envelope(std::string_view manifest_path) const {
  std::lock_guard lock(mutex_);
  auto envelope = ReadFile(dir_ / "manifests" / EnvelopeName(manifest_path), kEnvelopeBytesMax);
  if (!envelope) return std::nullopt;
  return std::move(*envelope);
}

Status ModelStore::Accept(std::string_view manifest_path, const ManifestMark& mark, ByteView envelope) {
  std::lock_guard lock(mutex_);
  StoreState next = *state_;
  ManifestMark& present = next.manifests[std::string(manifest_path)];
  if (next.manifests.size() > kStateManifestsMax) return TooMany("manifest");
  if (mark.sequence < present.sequence) {
    return FailedPrecondition("STALE_MANIFEST", "sequence " + std::to_string(present.sequence) + " was accepted before");
  }
  present = mark;
  // The envelope first: between the two writes it is newer than its mark, which the next poll's condition puts right.
  EF_RETURN_IF_ERROR(WriteFileAtomic(dir_ / "manifests" / EnvelopeName(manifest_path), envelope));
  return Commit(std::move(next));
}

std::optional<fs::path> ModelStore::FindFile(const crypto::Sha256Digest& sha256) const {
  std::error_code error;
  const fs::path path = FilePath(sha256);
  return fs::is_regular_file(path, error) ? std::optional(path) : std::nullopt;
}

Result<fs::path> ModelStore::PreparePending(std::string_view scope, const std::set<std::string>& keep) {
  const fs::path dir = dir_ / "pending" / scope;
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return Internal("FILE_IO", "create " + dir.string() + ": " + error.message());
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename();
    const bool kept = std::any_of(keep.begin(), keep.end(), [&](const std::string& stem) { return name.starts_with(stem); });
    if (!kept) fs::remove_all(entry.path(), error);
  }
  return dir;
}

Status ModelStore::Adopt(const fs::path& file, const crypto::Sha256Digest& sha256) const {
  if (FindFile(sha256)) return OkStatus();
  return RenameDurably(file, FilePath(sha256));
}

Result<Trial> ModelStore::Stage(InstalledVersion version, std::uint64_t sequence, const fs::path& pending) {
  std::lock_guard lock(mutex_);
  StoreState next = *state_;
  ModelState& model = next.models[version.model];
  if (next.models.size() > kStateModelsMax) return TooMany("model");
  const bool again = model.trial && model.trial->version.version == version.version && model.trial->sequence == sequence;
  model.trial = Trial{version, sequence, again ? model.trial->starts + 1 : 1};
  Trial trial = *model.trial;
  // The record first: files that no record names are removed at the next start, a record without files is forgotten.
  EF_RETURN_IF_ERROR(Commit(std::move(next)));
  for (auto& variant : trial.version.variants) {
    EF_RETURN_IF_ERROR(Adopt(pending / HexEncode(variant.sha256), variant.sha256));
    variant.file = FilePath(variant.sha256);
  }
  return trial;
}

std::optional<Trial> ModelStore::Staged(std::string_view model) const {
  std::lock_guard lock(mutex_);
  const auto found = state_->models.find(model);
  return found == state_->models.end() ? std::nullopt : found->second.trial;
}

Status ModelStore::Activate(std::string_view name) {
  std::lock_guard lock(mutex_);
  StoreState next = *state_;
  const auto found = next.models.find(name);
  if (found == next.models.end() || !found->second.trial || !Whole(found->second.trial->version)) {
    return FailedPrecondition("NO_TRIAL", "no complete version of " + std::string(name) + " is staged");
  }
  ModelState& model = found->second;
  // Installing a version again, with another set of variants, does not push the last good one out.
  const bool same = model.active && model.active->version == model.trial->version.version;
  if (model.active && !same) model.last_good = std::move(model.active);
  model.active = std::move(model.trial->version);
  if (model.last_good && model.last_good->version == model.active->version) model.last_good.reset();
  model.trial.reset();
  model.rejected.reset();
  return Commit(std::move(next));
}

Status ModelStore::RejectTrial(std::string_view name) {
  std::lock_guard lock(mutex_);
  StoreState next = *state_;
  const auto found = next.models.find(name);
  if (found == next.models.end() || !found->second.trial) return OkStatus();
  ModelState& model = found->second;
  model.rejected = RejectedVersion{model.trial->version.version, model.trial->sequence};
  model.trial.reset();
  return Commit(std::move(next));
}

std::optional<RejectedVersion> ModelStore::Rejected(std::string_view model) const {
  std::lock_guard lock(mutex_);
  const auto found = state_->models.find(model);
  return found == state_->models.end() ? std::nullopt : found->second.rejected;
}

Status ModelStore::RollBack(std::string_view name, std::uint64_t sequence) {
  std::lock_guard lock(mutex_);
  StoreState next = *state_;
  const auto found = next.models.find(name);
  if (found == next.models.end() || !found->second.last_good || !Whole(*found->second.last_good)) {
    return FailedPrecondition("NO_LAST_GOOD", "no earlier version of " + std::string(name) + " is kept");
  }
  ModelState& model = found->second;
  if (model.active) model.rejected = RejectedVersion{model.active->version, sequence};
  model.active = std::exchange(model.last_good, std::nullopt);
  model.trial.reset();
  return Commit(std::move(next));
}

std::optional<InstalledVariant> ModelStore::FindCached(std::string_view model, std::uint64_t version,
                                                       std::string_view variant) {
  std::lock_guard lock(mutex_);
  const auto with_file = [&](const InstalledVariant& found) -> std::optional<InstalledVariant> {
    const auto whole = WithFiles(InstalledVersion{std::string(model), version, {found}});
    return whole ? std::optional(whole->variants.front()) : std::nullopt;
  };
  if (const auto installed = state_->models.find(model); installed != state_->models.end()) {
    for (const auto& candidate : {installed->second.active, installed->second.last_good}) {
      const auto* found = candidate && candidate->version == version ? candidate->Find(variant) : nullptr;
      if (found != nullptr) return with_file(*found);
    }
  }
  std::uint64_t latest = 0;
  for (const auto& entry : state_->cache) latest = std::max(latest, entry.used);
  for (auto& entry : state_->cache) {
    if (entry.model != model || entry.version != version || entry.variant.name != variant) continue;
    entry.used = latest + 1;  // on disk with the next change
    return with_file(entry.variant);
  }
  return std::nullopt;
}

Result<InstalledVariant> ModelStore::AddCached(std::string_view model, std::uint64_t version, InstalledVariant variant,
                                               const fs::path& file, std::uint64_t bytes_max) {
  if (variant.size > bytes_max) {
    return ResourceExhausted("CACHE_TOO_SMALL", "a file of " + std::to_string(variant.size) +
                                                    " bytes does not fit a cache of " + std::to_string(bytes_max));
  }
  std::lock_guard lock(mutex_);
  StoreState next = *state_;
  std::erase_if(next.cache, [&](const CacheEntry& entry) {
    return entry.model == model && entry.version == version && entry.variant.name == variant.name;
  });
  std::sort(next.cache.begin(), next.cache.end(), [](const auto& a, const auto& b) { return a.used < b.used; });
  const std::uint64_t used = next.cache.empty() ? 1 : next.cache.back().used + 1;
  std::uint64_t total = variant.size;
  for (const auto& entry : next.cache) total += entry.variant.size;
  while (!next.cache.empty() && (total > bytes_max || next.cache.size() >= kStateCacheMax)) {
    total -= next.cache.front().variant.size;
    next.cache.erase(next.cache.begin());
  }
  next.cache.push_back({std::string(model), version, variant, used});
  EF_RETURN_IF_ERROR(Adopt(file, variant.sha256));
  EF_RETURN_IF_ERROR(Commit(std::move(next)));
  variant.file = FilePath(variant.sha256);
  return variant;
}

}  // namespace edgefleet::update
