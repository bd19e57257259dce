#include "secagg/words.h"

#include "secagg/clones.h"

namespace edgefleet::secagg {
namespace {

EDGEFLEET_VECTOR_CLONES("default", "avx2", "avx512f")
void Add(std::uint32_t* __restrict into, const std::uint32_t* __restrict words, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) into[i] += words[i];
}

EDGEFLEET_VECTOR_CLONES("default", "avx2", "avx512f")
void Subtract(std::uint32_t* __restrict from, const std::uint32_t* __restrict words, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) from[i] -= words[i];
}

}  // namespace

void AddWords(std::span<std::uint32_t> into, std::span<const std::uint32_t> words) {
  Add(into.data(), words.data(), into.size());
}

void SubtractWords(std::span<std::uint32_t> from, std::span<const std::uint32_t> words) {
  Subtract(from.data(), words.data(), from.size());
}

}  // namespace edgefleet::secagg
