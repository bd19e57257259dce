// A loop over independent pieces of work that a caller shares with a pool.
#pragma once

#include <cstddef>
#include <functional>

#include "base/executor.h"

namespace edgefleet::secagg {

// Calls fn(0) to fn(count - 1), each once, on the calling thread and on as much of `pool` (may be null) as is free, at most one
// thread for each processor, and returns when all are done. The pool may be full or busy: helpers that come late do nothing and
// touch nothing of the caller's. fn must not throw, and may be called by several threads at once.
void ParallelFor(ThreadPool* pool, std::size_t count, const std::function<void(std::size_t)>& fn);

}  // namespace edgefleet::secagg
