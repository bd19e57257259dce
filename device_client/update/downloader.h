// One file, fetched whole whatever happens to the connection: resumed by ranges, bounded by its known size, checked by its
// digest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/crypto/crypto.h"
#include "base/status.h"
#include "device_client/update/http_fetcher.h"

namespace edgefleet::update {

struct DownloadRequest {
  std::string path;  // below the origin's address
  std::uint64_t size = 0;
  crypto::Sha256Digest sha256{};
  std::filesystem::path file;  // complete and verified once it exists; "<file>.part" and "<file>.part.etag" are kept meanwhile
};

// Goes on from what "<file>.part" holds. After a cut it resumes at once, until three cuts in a row brought nothing new; the
// next call goes on from there. `bytes_transferred` grows by every body byte. Errors of HttpFetcher::Fetch; DATA_LOSS
// [SIZE_MISMATCH] [CONTENT_CHANGED] [BAD_RANGE] [CHECKSUM_MISMATCH] [BODY_TOO_LARGE], after which the partial file is gone.
Status Download(HttpFetcher& fetcher, const DownloadRequest& request, std::uint64_t& bytes_transferred);

}  // namespace edgefleet::update
