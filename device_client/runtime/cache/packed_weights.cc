#include "device_client/runtime/cache/packed_weights.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/mapped_output.h"

namespace edgefleet::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kNameSize = 64;
constexpr char kTemporary[] = ".tmp";

struct Header {
  char magic[4] = {'E', 'F', 'P', '1'};
  std::uint32_t version = 1;
  std::uint64_t key_size = 0;
  std::uint64_t packed_size = 0;
  std::uint64_t checksum[2] = {0, 0};
  std::uint64_t reserved[3] = {0, 0, 0};
};
static_assert(sizeof(Header) == kAlignment);

std::uint64_t PackedOffset(std::uint64_t key_size) {
  return (sizeof(Header) + key_size + kAlignment - 1) / kAlignment * kAlignment;
}

Bytes Serialize(const PackedKey& key) {
  Bytes bytes;
  for (const ByteView field :
       {ByteView(key.model), AsBytes(key.delegate), AsBytes(key.delegate_version), AsBytes(key.cpu), AsBytes(key.part)}) {
    const auto size = static_cast<std::uint32_t>(field.size());
    const auto* raw = reinterpret_cast<const std::byte*>(&size);
    bytes.insert(bytes.end(), raw, raw + sizeof size);
    bytes.insert(bytes.end(), field.begin(), field.end());
  }
  return bytes;
}

void SetChecksum(ByteView content, Header& header) {
  const XXH128_hash_t hash = XXH3_128bits(content.data(), content.size());
  header.checksum[0] = hash.low64;
  header.checksum[1] = hash.high64;
}

// The header that an entry of this key and file must have, but for its checksum; nothing when the file cannot be one.
std::optional<Header> Expected(ByteView file, ByteView key) {
  if (file.size() < PackedOffset(key.size())) return std::nullopt;
  Header header;
  header.key_size = key.size();
  header.packed_size = file.size() - PackedOffset(key.size());
  return header;
}

bool IsEntryName(const std::string& name) {
  return name.size() == kNameSize && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Best effort: a file that cannot be removed is overwritten by the next Store.
void RemoveFile(const fs::path& path) {
  std::error_code ignored;
  fs::remove(path, ignored);
}

}  // namespace

PackedWeightsCache::PackedWeightsCache(fs::path folder, std::uint64_t bytes_max)
    : folder_(std::move(folder)), bytes_max_(bytes_max) {}

Result<std::unique_ptr<PackedWeightsCache>> PackedWeightsCache::Open(fs::path folder, std::uint64_t bytes_max) {
  std::unique_ptr<PackedWeightsCache> cache(new PackedWeightsCache(std::move(folder), bytes_max));
  EF_RETURN_IF_ERROR(cache->Scan());
  return cache;
}

Status PackedWeightsCache::Scan() {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return FileError("create", folder_, error.value());
  struct Found {
    fs::file_time_type used;
    std::string name;
    std::uint64_t size;
  };
  std::vector<Found> found;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code gone;
    if (it->path().extension() == kTemporary) RemoveFile(it->path());
    if (!IsEntryName(name) || !it->is_regular_file(gone)) continue;
    Found file{it->last_write_time(gone), name, it->file_size(gone)};
    if (!gone) found.push_back(std::move(file));
  }
  if (error) return FileError("list", folder_, error.value());
  std::ranges::sort(found, {}, &Found::used);
  for (const Found& file : found) {
    entries_[file.name] = {.size = file.size, .used = ++uses_, .verified = false, .mapped = {}};
    bytes_ += file.size;
  }
  MakeRoom(0);
  return OkStatus();
}

std::shared_ptr<const PackedWeights> PackedWeightsCache::Find(const PackedKey& key) {
  const Bytes serialized = Serialize(key);
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(crypto::Sha256Hex(serialized));
  if (found == entries_.end()) return nullptr;
  Entry& entry = found->second;
  entry.used = ++uses_;
  if (auto mapped = entry.mapped.lock()) return mapped;
  auto mapped = Map(found->first, entry, serialized);
  if (!mapped) Remove(found);
  return mapped;
}

std::shared_ptr<const PackedWeights> PackedWeightsCache::Map(const std::string& name, Entry& entry, ByteView key) const {
  auto file = MappedFile::Open(folder_ / name);
  if (!file) return nullptr;
  const ByteView bytes = (*file)->bytes();
  auto header = Expected(bytes, key);
  if (!header) return nullptr;
  if (entry.verified) {
    std::memcpy(header->checksum, bytes.data() + offsetof(Header, checksum), sizeof header->checksum);
  } else {
    SetChecksum(bytes.subspan(sizeof(Header)), *header);
  }
  if (std::memcmp(bytes.data(), &*header, sizeof(Header)) != 0) return nullptr;
  if (std::memcmp(bytes.data() + sizeof(Header), key.data(), key.size()) != 0) return nullptr;
  if (!entry.verified) {
    // Verifying has touched all pages; those that are used come back. The time of last use is for the order after a restart.
    static_cast<void>((*file)->Advise(bytes, PageAdvice::kRelease));
    std::error_code ignored;
    fs::last_write_time(folder_ / name, fs::file_time_type::clock::now(), ignored);
    entry.verified = true;
  }
  auto packed = std::make_shared<const PackedWeights>(*std::move(file), bytes.subspan(PackedOffset(key.size())));
  entry.mapped = packed;
  return packed;
}

Result<std::shared_ptr<const PackedWeights>> PackedWeightsCache::Store(const PackedKey& key, ByteView packed) {
  const Bytes serialized = Serialize(key);
  const std::string name = crypto::Sha256Hex(serialized);
  const std::uint64_t offset = PackedOffset(serialized.size());
  const std::uint64_t size = offset + packed.size();
  if (size > bytes_max_) {
    return ResourceExhausted("PACKED_TOO_LARGE", "packed weights of " + std::to_string(size) + " bytes exceed the limit of " +
                                                     std::to_string(bytes_max_));
  }
  std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(name); found != entries_.end()) Remove(found);
  MakeRoom(size);
  {
    const fs::path temporary = folder_ / (name + kTemporary);
    EF_ASSIGN_OR_RETURN(const auto output, MappedOutput::Create(temporary, size));
    const std::span<std::byte> bytes = output->bytes();
    Header header = *Expected(bytes, serialized);
    std::memcpy(bytes.data() + sizeof header, serialized.data(), serialized.size());
    if (!packed.empty()) std::memcpy(bytes.data() + offset, packed.data(), packed.size());
    SetChecksum(bytes.subspan(sizeof header), header);
    std::memcpy(bytes.data(), &header, sizeof header);
    EF_RETURN_IF_ERROR(output->Commit(size));
    EF_RETURN_IF_ERROR(RenameDurably(temporary, folder_ / name));
  }
  Entry& entry = entries_[name] = {.size = size, .used = ++uses_, .verified = true, .mapped = {}};
  bytes_ += size;
  auto mapped = Map(name, entry, serialized);
  if (!mapped) return Internal("FILE_IO", "packed weights that were just written cannot be mapped");
  return mapped;
}

void PackedWeightsCache::Remove(std::map<std::string, Entry>::iterator entry) {
  RemoveFile(folder_ / entry->first);
  bytes_ -= entry->second.size;
  entries_.erase(entry);
}

void PackedWeightsCache::MakeRoom(std::uint64_t size) {
  while (bytes_ > bytes_max_ - size) {
    Remove(std::ranges::min_element(entries_, {}, [](const auto& entry) { return entry.second.used; }));
  }
}

std::uint64_t PackedWeightsCache::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace edgefleet::runtime
