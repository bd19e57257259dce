// How much of a model is in memory.
#pragma once

namespace edgefleet::runtime {

// When weights are in memory, and what of them counts against a budget.
enum class LoadMode {
  kMapped = 0,  // pages come when they are first touched, and stay; the whole file counts, for all may be touched
  kEager = 1,   // all pages are read and mapped before the model is handed out; the whole file counts
  kLazy = 2,    // as mapped, but all weights leave with the last inference that runs, and count only while one does
  // Weights pass through in blocks and leave after each; every session counts a block and 4 MiB that faults map around it.
  kStreaming = 3,
};

}  // namespace edgefleet::runtime
