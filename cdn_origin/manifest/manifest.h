// The signed update metadata: what a device may install for one alias, or one version, of a model. A JSON document inside a
// DSSE envelope (dsse.h). Published by the registry, stored by the origin, verified by devices.
//
//   {"format": 1, "model": "fashion", "version": 7, "alias": "stable", "sequence": 12, "created_unix_ms": ...,
//   "expires_unix_ms": ...,
//    "targets": [{"name": "int8", "precision": "int8", "trainable": false, "sha256": "<hex>", "size": 1, "path":
//    "/blobs/<hex>",
//                 "deltas": [{"from_sha256": "<hex>", "sha256": "<hex>", "size": 1, "path": "/deltas/<from>-<to>"}]}]}
//
// Members that this version does not know are ignored; a document of another `format` is refused.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crypto/crypto.h"
#include "base/status.h"

namespace edgefleet::manifest {

inline constexpr std::size_t kEnvelopeBytesMax = 1024 * 1024;
inline constexpr std::size_t kTargetsMax = 16;
inline constexpr std::size_t kDeltasMax = 64;  // per target
inline constexpr std::uint64_t kTargetBytesMax = 4ULL << 30;
inline constexpr std::size_t kPathCharactersMax = 200;

// A patch that turns the file with digest `from_sha256` into its target.
struct Delta {
  crypto::Sha256Digest from_sha256{};
  crypto::Sha256Digest sha256{};  // of the patch itself
  std::uint64_t size = 0;         // of the patch; 1 to kTargetBytesMax
  bool operator==(const Delta&) const = default;
};

// One variant's file.
struct Target {
  std::string name;       // "int8"; unique in its manifest
  std::string precision;  // "int8", "fp32"
  bool trainable = false;
  crypto::Sha256Digest sha256{};
  std::uint64_t size = 0;  // 1 to kTargetBytesMax
  std::vector<Delta> deltas;
  bool operator==(const Target&) const = default;
};

struct Manifest {
  std::string model;
  std::uint64_t version = 0;   // 1 and up
  std::string alias;           // "" for the manifest of a single version
  std::uint64_t sequence = 0;  // 1 and up; grows whenever the manifest at this path changes; devices refuse a lower one
  std::int64_t created_unix_ms = 0;
  std::int64_t expires_unix_ms = 0;  // after created
  std::vector<Target> targets;       // 1 to kTargetsMax

  // Nothing when the manifest has no such variant.
  const Target* FindTarget(std::string_view name) const;
  bool operator==(const Manifest&) const = default;
};

// Where devices fetch, below the origin's address.
std::string BlobPath(const crypto::Sha256Digest& sha256);
std::string DeltaPath(const crypto::Sha256Digest& from_sha256, const crypto::Sha256Digest& to_sha256);

// A manifest's own path ("fashion/stable.json"; fetched as "/manifests/fashion/stable.json"): segments of
// [a-z0-9][a-z0-9._-]{0,62} between single slashes, the last with or without ".json" after it, kPathCharactersMax in all.
// INVALID_ARGUMENT [BAD_PATH].
Status CheckPath(std::string_view path);

// The path that a manifest belongs to, "<model>/<alias>.json" or, without an alias, "<model>/versions/<version>.json". A device
// takes a manifest from no other: an origin could pass off one alias's signed manifest as another's.
std::string PathOf(const Manifest& manifest);

// Names of models, aliases and variants: [a-z0-9][a-z0-9._-]{0,62}.
bool IsName(std::string_view name);

// Every rule above. INVALID_ARGUMENT [BAD_MANIFEST] names the member.
Status Check(const Manifest& manifest);

// Checks, serializes and signs with every key (1 to 16). The same manifest and keys give the same bytes. [BAD_MANIFEST].
Result<Bytes> Sign(const Manifest& manifest, std::span<const crypto::Ed25519SecretKey> keys);

// What a device insists on.
struct Expectation {
  std::string_view model;
  std::uint64_t sequence_min = 0;  // the highest sequence it has accepted from this path; 0: none yet
};

// Verifies the signature before it looks inside, then format, model, sequence and expiry. INVALID_ARGUMENT [BAD_MANIFEST],
// UNAUTHENTICATED [BAD_SIGNATURE], FAILED_PRECONDITION [WRONG_MODEL, STALE_MANIFEST, MANIFEST_EXPIRED].
Result<Manifest> Verify(ByteView envelope, std::span<const crypto::Ed25519PublicKey> trusted, const Expectation& expectation,
                        const Clock& clock);

// For the origin, which holds no keys and passes envelopes on as they are. [BAD_MANIFEST].
Result<Manifest> ReadUnverified(ByteView envelope);

}  // namespace edgefleet::manifest
