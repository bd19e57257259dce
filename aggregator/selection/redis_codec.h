// The binary form of what the Redis store keeps: a version byte, then fields in order; integers as LEB128, texts with their
// length. Decoding checks every bound; content that does not fit is DATA_LOSS [PRESENCE_CORRUPT].
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "aggregator/selection/presence_store.h"
#include "base/bytes.h"

namespace edgefleet::selection::redis {

// A device without its id. Bytes 1 to 8 are the expiry in Unix milliseconds, little-endian, for the sweeping script.
std::string EncodeDevice(const DeviceRecord& device);
Result<DeviceRecord> DecodeDevice(std::string_view device_id, std::string_view text);

std::string EncodeRequest(const SelectionRequest& request);
Result<SelectionRequest> DecodeRequest(std::string_view text);

// A pool's member without its id.
struct PoolMember {
  PoolEntry entry;
  WallTime expires;
};
std::string EncodeMember(const PoolEntry& entry, WallTime expires);
Result<PoolMember> DecodeMember(std::string_view device_id, std::string_view text);

std::string EncodeDraw(const Draw& draw);
Result<std::shared_ptr<const Draw>> DecodeDraw(std::string_view text);

}  // namespace edgefleet::selection::redis
