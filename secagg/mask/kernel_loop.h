// The loop of the x86-64 kernels, for any width of vector: key stream and addition in one pass, with the words of a batch of
// vectors kept in registers while the cipher's rounds go over them.
//
// Counter blocks are zero but for a block number below 2^40 in their last five bytes. Of these only byte 15 reaches column 0 of
// the state in the first round, and it reaches no other column. So within the first two rounds the parts of a block number, i
// (its low byte) and g (the rest), never meet in one S-box, and the state after two rounds is table[i] ^ start(g): a table of
// 256 entries for each key, and two rounds for each 256 blocks instead of two for each (J. H. Park, D. H. Lee 2018, "FACE: Fast
// AES CTR mode Encryption Techniques based on the Reuse of Repetitive Data", TCHES 2018(3)). Table indices are block numbers,
// so what is read where tells nothing about keys.
#pragma once

#include <wmmintrin.h>

#include "secagg/mask/kernel.h"

namespace edgefleet::secagg {
namespace {

constexpr int kBatch = 8;  // vectors in flight: the instruction's latency times its rate, and some

template <AesKeySize kSize>
constexpr int kRounds = kSize == AesKeySize::k256 ? 14 : 10;

inline __m128i LoadRoundKey(const AesSchedule& schedule, int round) {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(schedule.round_keys[round]));
}

template <class Vector>
inline typename Vector::Type TwoRounds(const AesSchedule& schedule, typename Vector::Type counters) {
  const auto whitened = Vector::Xor(counters, Vector::Broadcast(LoadRoundKey(schedule, 0)));
  const auto one = Vector::Round(whitened, Vector::Broadcast(LoadRoundKey(schedule, 1)));
  return Vector::Round(one, Vector::Broadcast(LoadRoundKey(schedule, 2)));
}

inline __m128i Counter(std::uint64_t block) { return _mm_set_epi64x(static_cast<long long>(__builtin_bswap64(block)), 0); }

// table[i] is the state after two rounds of block i.
template <class Vector>
inline void FillTable(const AesSchedule& schedule, std::uint8_t* table) {
  constexpr std::uint32_t kBlocks = Vector::kBytes / 16, kByte15 = 1U << 24;  // of a block's last word
  alignas(64) static constexpr std::uint32_t kFirst[16] = {0, 0, 0, 0,           0, 0, 0, kByte15,
                                                           0, 0, 0, 2 * kByte15, 0, 0, 0, 3 * kByte15};
  const auto step = Vector::Broadcast(_mm_set_epi32(static_cast<int>(kBlocks * kByte15), 0, 0, 0));
  auto counters = Vector::Load(kFirst);
  for (std::uint32_t i = 0; i < 256; i += kBlocks, counters = Vector::Add(counters, step)) {
    Vector::Store(table + 16 * i, TwoRounds<Vector>(schedule, counters));
  }
}

// start(g) for the blocks from `block`, a multiple of 256, on: with table[i] it makes the state of block + i.
template <class Vector>
inline typename Vector::Type Start(const AesSchedule& schedule, std::uint64_t block) {
  const auto state = TwoRounds<Vector>(schedule, Vector::Broadcast(Counter(block)));
  return Vector::Xor(state, TwoRounds<Vector>(schedule, Vector::Broadcast(Counter(0))));
}

// The rest of the rounds for kCount vectors at `table`, into `words`.
template <class Vector, AesKeySize kSize, WordOp kOp, int kCount>
inline void Combine(const AesSchedule& schedule, const std::uint8_t* table, typename Vector::Type start, std::uint32_t* words) {
  typename Vector::Type state[kCount];
  for (int i = 0; i < kCount; ++i) state[i] = Vector::Xor(Vector::Load(table + i * Vector::kBytes), start);
  for (int round = 3; round < kRounds<kSize>; ++round) {
    const auto key = Vector::Broadcast(LoadRoundKey(schedule, round));
    for (int i = 0; i < kCount; ++i) state[i] = Vector::Round(state[i], key);
  }
  const auto key = Vector::Broadcast(LoadRoundKey(schedule, kRounds<kSize>));
  for (int i = 0; i < kCount; ++i) {
    const auto stream = Vector::LastRound(state[i], key);
    std::uint32_t* const place = words + i * (Vector::kBytes / 4);
    if constexpr (kOp == WordOp::kAdd) {
      Vector::Store(place, Vector::Add(Vector::Load(place), stream));
    } else if constexpr (kOp == WordOp::kSubtract) {
      Vector::Store(place, Vector::Subtract(Vector::Load(place), stream));
    } else {
      Vector::Store(place, stream);
    }
  }
}

template <class Vector, AesKeySize kSize, WordOp kOp>
inline void CombineTail(const AesSchedule& schedule, const std::uint8_t* table, typename Vector::Type start,
                        std::uint32_t* words, std::size_t count, KernelScratch* scratch) {
  for (std::size_t i = 0; i < count; ++i) scratch->tail[i] = words[i];
  Combine<Vector, kSize, kOp, 1>(schedule, table, start, scratch->tail);
  for (std::size_t i = 0; i < count; ++i) words[i] = scratch->tail[i];
}

template <class Vector, AesKeySize kSize, WordOp kOp>
void Loop(const AesSchedule& schedule, std::uint64_t block, std::uint32_t* words, std::size_t count, KernelScratch* scratch) {
  constexpr std::size_t kWords = Vector::kBytes / 4;
  FillTable<Vector>(schedule, scratch->rounds);
  while (count > 0) {
    const auto start = Start<Vector>(schedule, block & ~std::uint64_t{255});
    const std::uint8_t* table = scratch->rounds + 16 * (block & 255);
    const std::size_t group = 4 * (256 - (block & 255));
    std::size_t left = count < group ? count : group;
    count -= left;
    block = (block | 255) + 1;
    for (; left >= kBatch * kWords; left -= kBatch * kWords) {
      Combine<Vector, kSize, kOp, kBatch>(schedule, table, start, words);
      table += kBatch * Vector::kBytes;
      words += kBatch * kWords;
    }
    for (; left >= kWords; left -= kWords) {
      Combine<Vector, kSize, kOp, 1>(schedule, table, start, words);
      table += Vector::kBytes;
      words += kWords;
    }
    if (left > 0) CombineTail<Vector, kSize, kOp>(schedule, table, start, words, left, scratch);
    words += left;
  }
}

template <class Vector, AesKeySize kSize>
void LoopFor(const AesSchedule& schedule, WordOp op, std::uint64_t block, std::uint32_t* words, std::size_t count,
             KernelScratch* scratch) {
  switch (op) {
    case WordOp::kAdd:
      return Loop<Vector, kSize, WordOp::kAdd>(schedule, block, words, count, scratch);
    case WordOp::kSubtract:
      return Loop<Vector, kSize, WordOp::kSubtract>(schedule, block, words, count, scratch);
    case WordOp::kStore:
      return Loop<Vector, kSize, WordOp::kStore>(schedule, block, words, count, scratch);
  }
}

template <class Vector>
void LoopFor(const AesSchedule& schedule, AesKeySize size, WordOp op, std::uint64_t block, std::uint32_t* words,
             std::size_t count, KernelScratch* scratch) {
  if (size == AesKeySize::k256) {
    LoopFor<Vector, AesKeySize::k256>(schedule, op, block, words, count, scratch);
  } else {
    LoopFor<Vector, AesKeySize::k128>(schedule, op, block, words, count, scratch);
  }
}

}  // namespace
}  // namespace edgefleet::secagg
