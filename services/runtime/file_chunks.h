// A file as a stream of chunks, for RunDownload.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

#include "base/file_handle.h"
#include "proto/rpc/status.h"
#include "services/runtime/rpc_handlers.h"

namespace edgefleet::services {

// Reads an open file from `offset` to the end that it had when it was opened, a chunk a message. `Message` has a field `chunk`
// and no other. INTERNAL [FILE_IO].
template <typename Message>
Producer<Message> ReadChunks(FileHandle file, std::uint64_t offset) {
  auto shared = std::make_shared<FileHandle>(std::move(file));
  return [shared, offset](Message& message) mutable -> Result<bool> {
    if (offset >= shared->size()) return false;
    std::string& chunk = *message.mutable_chunk();
    chunk.resize(std::min<std::uint64_t>(rpc::kChunkBytes, shared->size() - offset));
    const ssize_t got = ::pread(shared->fd(), chunk.data(), chunk.size(), static_cast<off_t>(offset));
    if (got <= 0) return Internal("FILE_IO", "a stored file cannot be read");
    chunk.resize(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
    return true;
  };
}

}  // namespace edgefleet::services
