// How weights come and go with the nodes that use them.
#pragma once

#include <span>

#include "base/bytes.h"

namespace edgefleet::runtime {

// Told by sessions which of a model's constants they read when, so that a mapped file's pages need not all be in memory.
// Thread-safe; outlives the sessions that know it.
class WeightPager {
 public:
  virtual ~WeightPager() = default;
  // Before and after a partition is compiled, and each time it runs. `constants` are views of the storage of the session's
  // graph (or of what the session folded itself), sorted, neighbours joined.
  virtual void WillRead(std::span<const ByteView> constants) = 0;
  virtual void DidRead(std::span<const ByteView> constants) = 0;
};

}  // namespace edgefleet::runtime
