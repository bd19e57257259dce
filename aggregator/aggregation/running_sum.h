// The sum of a round's masked updates, kept while they arrive: each complete upload is added once and its file then goes away.
// Memory is one vector of u32 and one block of an update, whatever the number of updates.
//
// An update is packed: element i has bits [i*b, (i+1)*b), little-endian (secagg/packing.h). Elements are added modulo 2^32;
// modulo 2^b that is the sum modulo 2^b.
//
// Crash safety: the sum and the devices in it are written to <round's folder>/sum (checkpoint.h), and an upload is discarded
// from the spool only after a checkpoint that holds it. So at any time every complete upload is in the last checkpoint or in
// the spool, and Open() adds the latter to the former: no update is lost or counted twice. On disk are the uploads since the
// last checkpoint, and twice the sum while one is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "aggregator/aggregation/checkpoint.h"
#include "aggregator/aggregation/update_spool.h"
#include "base/status.h"

namespace edgefleet::aggregation {

// Thread-safe. Additions and checkpoints follow one another (adding costs one pass over the update); Counted(), count() and
// counted() do not wait for them. One object at a time for a round.
class RunningSum {
 public:
  struct Options {
    SumShape shape;
    // A checkpoint is written after so many additions, and after each one while the spool is crowded.
    std::size_t checkpoint_every = 16;
  };

  // The sum as an earlier process left it, or an empty one. `devices`: whose uploads may count; those that are complete in the
  // spool and not in the checkpoint are added, unless they are malformed. The spool outlives the sum. INVALID_ARGUMENT
  // [BAD_SHAPE]; DATA_LOSS [CHECKPOINT_DAMAGED] if updates that were counted are lost: the round cannot go on; the errors of
  // FileError.
  static Result<std::unique_ptr<RunningSum>> Open(UpdateSpool& spool, Options options, std::span<const std::string> devices);

  // Adds a complete upload. OK: it counts, from now on and after a restart. Otherwise it does not: ALREADY_EXISTS
  // [ALREADY_COUNTED] (it did before); INVALID_ARGUMENT [BAD_UPDATE] for another size, or bits after the last element that are
  // not zero; FAILED_PRECONDITION [SUM_FINISHED]; the errors of UpdateSpool::CompleteFile and FileError. If the file could be
  // read only in part, this and every later call but Close is FAILED_PRECONDITION [SUM_SPOILT]; the sum can be opened anew. A
  // checkpoint that fails here is tried again by the next addition.
  Status Add(const std::string& device_id);

  // Makes what was added durable and discards it from the spool; nothing is written if nothing was added. The errors of
  // FileError, FAILED_PRECONDITION [SUM_FINISHED], [SUM_SPOILT].
  Status Checkpoint();

  // Ends the additions with a checkpoint, and returns the devices in the sum, ascending: these are the survivors. When it
  // fails it can be called again.
  Result<std::vector<std::string>> Finish();

  // Waits for what runs, refuses all that comes as [SUM_FINISHED], and frees the memory: the round's folder can be removed.
  void Close();

  bool Counted(const std::string& device_id) const;
  std::size_t count() const;
  std::vector<std::string> counted() const;

  // After Finish: the sum, each word below 2^element_bits. It belongs to the caller then, who may change it in place; the
  // checkpoint keeps the masked sum. Valid until Close.
  std::span<std::uint32_t> words() { return words_; }

  // Of one update held in memory at a time; a multiple of 8 is whole bytes at any width.
  static constexpr std::size_t kBlockElements = std::size_t{1} << 18;

 private:
  RunningSum(UpdateSpool& spool, Options options);

  Status TakeUp(std::span<const std::string> devices);
  Status CheckOpen() const;
  Status AddFile(const std::filesystem::path& path);
  Status Save();
  void DiscardSaved(const std::set<std::string>& devices);

  UpdateSpool& spool_;
  const Options options_;
  const std::filesystem::path file_;

  std::mutex adding_;  // of all below but counted_
  std::vector<std::uint32_t> words_;
  std::vector<std::byte> block_;
  std::set<std::string> unsaved_;  // counted since the last checkpoint
  bool saved_ = false;             // the checkpoint is there and holds all that counts
  bool spoilt_ = false;
  bool finished_ = false;

  mutable std::mutex mutex_;  // of counted_; taken after adding_, held for a moment
  std::set<std::string> counted_;
};

}  // namespace edgefleet::aggregation
