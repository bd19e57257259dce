// The fixed header of an .efm file, as efm.h describes it.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "device_client/runtime/format/efm.h"

namespace edgefleet::runtime {

static_assert(std::endian::native == std::endian::little,
              ".efm constants are mapped in place; a big-endian host would swap them");

struct EfmHeader {
  char magic[4] = {'E', 'F', 'M', '1'};
  std::uint32_t version = kEfmVersion;
  std::uint64_t file_size = 0;
  std::uint64_t graph_offset = 0;
  std::uint64_t graph_size = 0;
  std::uint64_t weights_offset = 0;
  std::uint64_t weights_size = 0;
  std::uint64_t reserved[2] = {0, 0};
};
static_assert(sizeof(EfmHeader) == 64);

inline std::uint64_t AlignUp(std::uint64_t value) { return (value + kEfmAlignment - 1) / kEfmAlignment * kEfmAlignment; }

}  // namespace edgefleet::runtime
