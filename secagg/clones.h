// Compiles a kernel for several vector widths, chosen at load time: EDGEFLEET_VECTOR_CLONES("default", "avx2") void
// Kernel(...).
#pragma once

// Function multiversioning resolves before a sanitizer's runtime is up, so sanitized builds take the plain loop.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__clang__)
#define EDGEFLEET_VECTOR_CLONES(...) __attribute__((target_clones(__VA_ARGS__)))
#else
#define EDGEFLEET_VECTOR_CLONES(...)
#endif
