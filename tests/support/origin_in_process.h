// A whole origin below a folder of its own: stores and HTTP server, without gRPC.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "cdn_origin/blobs/file_blob_store.h"
#include "cdn_origin/delta/delta_store.h"
#include "cdn_origin/http/origin_content.h"
#include "cdn_origin/http/server.h"
#include "cdn_origin/manifest/manifest_store.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::test {

class OriginInProcess {
 public:
  explicit OriginInProcess(const http::ServerOptions& options = {})
      : blobs(*blobs::FileBlobStore::Open(dir_.path() / "blobs")),
        deltas(*delta::DeltaStore::Open(dir_.path() / "deltas", *blobs)),
        manifests(*manifest::ManifestStore::Open(dir_.path() / "manifests")),
        content_(*blobs, *deltas, *manifests) {
    auto started = http::Server::Start(options, content_, metrics_);
    if (!started) ADD_FAILURE() << started.error().ToString();
    if (started) server = std::move(*started);
  }

  std::string url() const { return "http://" + server->address(); }
  crypto::Sha256Digest PutBlob(ByteView bytes) {
    const auto digest = crypto::Sha256(bytes);
    auto writer = blobs->Put(digest, bytes.size(), 0);
    EXPECT_TRUE(writer && (*writer)->Append(bytes).ok() && (*writer)->Finish());
    return digest;
  }

 private:
  TempDir dir_;
  NullMetrics metrics_;

 public:
  std::unique_ptr<blobs::FileBlobStore> blobs;
  std::unique_ptr<delta::DeltaStore> deltas;
  std::unique_ptr<manifest::ManifestStore> manifests;

 private:
  http::OriginContent content_;

 public:
  std::unique_ptr<http::Server> server;
};

}  // namespace edgefleet::test
