#include "secagg/field.h"

#include <array>

#include "secagg/clones.h"

namespace edgefleet::secagg {
namespace {

EDGEFLEET_VECTOR_CLONES("default", "avx2")
void Scale(std::uint16_t* __restrict into, const std::uint16_t* __restrict from, std::uint16_t scalar, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) into[i] ^= FieldMultiply(scalar, from[i]);
}

EDGEFLEET_VECTOR_CLONES("default", "avx2")
void MultiplyEach(std::uint16_t* __restrict into, const std::uint16_t* __restrict by, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) into[i] = FieldMultiply(into[i], by[i]);
}

EDGEFLEET_VECTOR_CLONES("default", "avx2")
std::uint16_t Dot(const std::uint16_t* a, const std::uint16_t* b, std::size_t size) {
  std::uint16_t sum = 0;
  for (std::size_t i = 0; i < size; ++i) sum ^= FieldMultiply(a[i], b[i]);
  return sum;
}

struct Tables {
  Tables() {
    std::uint16_t power = 1;
    for (std::uint32_t exponent = 0; exponent < kFieldOrder; ++exponent) {
      powers[exponent] = power;
      logs[power] = static_cast<std::uint16_t>(exponent);
      power = FieldTimesX(power);
    }
  }
  std::array<std::uint16_t, kFieldOrder> powers;
  std::array<std::uint16_t, kFieldOrder + 1> logs{};
};

const Tables& PublicTables() {
  static const Tables tables;
  return tables;
}

}  // namespace

void AddScaled(std::span<std::uint16_t> into, std::span<const std::uint16_t> from, std::uint16_t scalar) {
  Scale(into.data(), from.data(), scalar, into.size());
}

void MultiplyElements(std::span<std::uint16_t> into, std::span<const std::uint16_t> by) {
  MultiplyEach(into.data(), by.data(), into.size());
}

std::uint16_t DotProduct(std::span<const std::uint16_t> a, std::span<const std::uint16_t> b) {
  return Dot(a.data(), b.data(), a.size());
}

std::uint16_t PublicLog(std::uint16_t a) { return PublicTables().logs[a]; }
std::uint16_t PublicPower(std::uint64_t exponent) { return PublicTables().powers[exponent % kFieldOrder]; }

}  // namespace edgefleet::secagg
