#include "secagg/words.h"

// Function multiversioning resolves before a sanitizer's runtime is up, so sanitized builds take the plain loop.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__clang__)
#define EDGEFLEET_VECTOR_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define EDGEFLEET_VECTOR_CLONES
#endif

namespace edgefleet::secagg {
namespace {

EDGEFLEET_VECTOR_CLONES void Add(std::uint32_t* __restrict into, const std::uint32_t* __restrict words, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) into[i] += words[i];
}

EDGEFLEET_VECTOR_CLONES void Subtract(std::uint32_t* __restrict from, const std::uint32_t* __restrict words, std::size_t size) {
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
