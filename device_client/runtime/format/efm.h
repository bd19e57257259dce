// The .efm model file: what the registry writes, what travels, and what a device maps.
//
//   offset 0   header, 64 bytes little-endian: magic "EFM1", u32 format version, u64 file size, u64 graph offset, u64 graph
//   size,
//              u64 weights offset, u64 weights size, 16 zero bytes
//   64         graph: a FlatBuffer of efm.fbs
//   ...        zero padding to a multiple of 64, then the weights: constants in tensor order, each at a multiple of 64
//
// Limits, checked on writing and loading: file 1 GiB, graph section 16 MiB, 65,536 tensors, 16,384 nodes, 8 dimensions,
// 2^31 - 1 elements a tensor, names of 256 bytes.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/file.h"
#include "base/status.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::runtime {

inline constexpr std::uint32_t kEfmVersion = 2;
inline constexpr std::size_t kEfmAlignment = 64;
inline constexpr std::uint64_t kEfmFileBytesMax = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kEfmGraphBytesMax = std::uint64_t{16} << 20;

// The same graph gives the same bytes. Errors: those of ValidateGraph, and RESOURCE_EXHAUSTED [EFM_TOO_LARGE].
Result<Bytes> WriteEfm(const Graph& graph);

// Checks everything (FlatBuffers' verifier, the layout above, ValidateGraph) before the graph is handed out; the file may come
// from anybody. Constants are views into the mapping, which the graph keeps alive.
// INVALID_ARGUMENT [EFM_TRUNCATED | EFM_BAD_HEADER | EFM_BAD_GRAPH | EFM_BAD_WEIGHTS | EFM_TOO_LARGE], UNIMPLEMENTED
// [EFM_VERSION] or an error of ValidateGraph.
Result<Graph> LoadEfm(std::shared_ptr<const MappedFile> file);
// The same from memory; the bytes are copied once if they are not aligned to 64.
Result<Graph> LoadEfm(Bytes bytes);

}  // namespace edgefleet::runtime
