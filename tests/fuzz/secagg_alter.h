// Hostile versions of the secure-aggregation messages, as an input of the fuzzer says.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "secagg/messages.h"

namespace edgefleet::fuzz {

// One decision of the fuzzer, 8 bytes of its input; all zero: be honest.
struct Decision {
  std::array<std::uint8_t, 8> bytes{};
  bool has(int bit) const { return ((bytes[0] >> bit) & 1) != 0; }
  std::uint32_t field() const { return bytes[1]; }
  std::uint32_t place() const { return bytes[2] | bytes[3] << 8; }
  std::uint32_t how() const { return bytes[4]; }
  std::byte value() const { return std::byte{bytes[5]}; }
  std::uint32_t size() const { return (bytes[6] | bytes[7] << 8) % 4096U; }
};

// Takes decisions off the input; beyond its end everything is honest.
class Decisions {
 public:
  explicit Decisions(ByteView input) : left_(input) {}
  Decision Next() {
    Decision decision;
    for (std::size_t i = 0; i < decision.bytes.size() && i < left_.size(); ++i) {
      decision.bytes[i] = std::to_integer<std::uint8_t>(left_[i]);
    }
    left_ = left_.subspan(std::min(left_.size(), decision.bytes.size()));
    return decision;
  }

 private:
  ByteView left_;
};

// A message's parts: what has a length of its own, and what has not (numbers, as they lie in memory).
struct Parts {
  std::vector<Bytes*> strings;
  std::vector<std::span<std::byte>> numbers;
};

template <typename Number>
std::span<std::byte> InMemory(Number& number) {
  return std::as_writable_bytes(std::span(&number, 1));
}

inline Parts PartsOf(secagg::KeyAdvert& m) {
  return {{&m.cipher_public_key, &m.mask_public_key, &m.identity_key, &m.certificate, &m.signature}, {}};
}
inline Parts PartsOf(secagg::SharedKeys& m) { return {{&m.seed_commitment, &m.sealed}, {}}; }
inline Parts PartsOf(secagg::Inbox& m) { return {{&m.sharers, &m.senders, &m.sealed}, {}}; }
inline Parts PartsOf(secagg::UploadProof& m) { return {{&m.signature}, {}}; }
inline Parts PartsOf(Bytes& survivors) { return {{&survivors}, {}}; }
inline Parts PartsOf(secagg::Confirmation& m) { return {{&m.signature}, {}}; }
inline Parts PartsOf(secagg::UnmaskRequest& m) { return {{&m.survivors, &m.signers, &m.signatures, &m.uploads}, {}}; }
inline Parts PartsOf(secagg::UnmaskAnswer& m) { return {{&m.survivors_digest, &m.held, &m.shares}, {}}; }
inline Parts PartsOf(secagg::RoundSetup& m) {
  Parts parts{{&m.server_nonce, &m.roster_digest, &m.roster_path, &m.fingerprints},
              {std::as_writable_bytes(std::span(m.config.round_id)), InMemory(m.config.adversary), InMemory(m.config.cipher),
               InMemory(m.config.vector_length), InMemory(m.config.element_bits), InMemory(m.members), InMemory(m.graph.degree),
               InMemory(m.graph.threshold), InMemory(m.survivors_min), InMemory(m.index)}};
  for (secagg::KeyAdvert& neighbour : m.neighbours) {
    const Parts of_one = PartsOf(neighbour);
    parts.strings.insert(parts.strings.end(), of_one.strings.begin(), of_one.strings.end());
  }
  for (secagg::Credential& member : m.committee) {
    parts.strings.insert(parts.strings.end(), {&member.identity_key, &member.certificate});
  }
  return parts;
}

// All of a message; two are the same if these are.
template <typename Message>
Bytes Flat(Message message) {
  Bytes flat;
  const Parts parts = PartsOf(message);
  const auto add = [&](ByteView bytes) { flat.insert(flat.end(), bytes.begin(), bytes.end()); };
  for (const Bytes* string : parts.strings) {
    std::size_t size = string->size();
    add(InMemory(size));
    add(*string);
  }
  for (const auto number : parts.numbers) add(number);
  return flat;
}

inline void AlterString(Bytes& string, const Decision& decision) {
  SeededRandom random(decision.place() * 256U + decision.bytes[5]);
  const std::size_t place = string.empty() ? 0 : decision.place() % string.size();
  switch (decision.how() % 8) {
    case 0:
      if (!string.empty()) string[place] ^= decision.value() | std::byte{1};
      break;
    case 1:
      string.resize(place);
      break;
    case 2:
      string.resize(string.size() + 1 + decision.size(), decision.value());
      break;
    case 3:
      std::ranges::fill(string, decision.value());
      break;
    case 4:  // what belongs to one stands at another's place
      std::rotate(string.begin(), string.begin() + static_cast<std::ptrdiff_t>(place), string.end());
      break;
    case 5:
      random.Fill(string);
      break;
    case 6:
      string.resize(decision.size());
      random.Fill(string);
      break;
    default:
      string.clear();
  }
}

inline void AlterNumber(std::span<std::byte> number, const Decision& decision) {
  if (number.empty()) return;
  if (decision.how() % 2 == 0) {
    number[decision.place() % number.size()] ^= decision.value() | std::byte{1};
  } else {
    std::ranges::fill(number, decision.value());
  }
}

inline void AlterList(secagg::RoundSetup& setup, const Decision& decision) {
  auto& list = setup.neighbours;
  if (list.empty()) return;
  if (decision.how() % 3 == 0) list.pop_back();
  if (decision.how() % 3 == 1) list.push_back(list[decision.place() % list.size()]);
  if (decision.how() % 3 == 2) std::swap(list.front(), list[decision.place() % list.size()]);
}
template <typename Message>
void AlterList(Message&, const Decision&) {}

// The message with one of its parts altered.
template <typename Message>
void Alter(Message& message, const Decision& decision) {
  const Parts parts = PartsOf(message);
  const std::size_t field = decision.field() % (parts.strings.size() + parts.numbers.size() + 1);
  if (field < parts.strings.size()) return AlterString(*parts.strings[field], decision);
  if (field < parts.strings.size() + parts.numbers.size()) {
    return AlterNumber(parts.numbers[field - parts.strings.size()], decision);
  }
  AlterList(message, decision);
}

}  // namespace edgefleet::fuzz
