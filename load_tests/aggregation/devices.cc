#include "load_tests/aggregation/devices.h"

#include <algorithm>

#include "secagg/session.h"
#include "secagg/shamir.h"

namespace edgefleet::load_tests {
namespace {

constexpr std::size_t kChunkWords = (1 << 20) / sizeof(std::uint32_t);

// A small value that differs from device to device and from parameter to parameter.
std::int32_t PlainValue(std::uint32_t index, std::uint64_t position) {
  return static_cast<std::int32_t>((position * 31 + index * 17ULL) & 2047) - 1024;
}

}  // namespace

Devices::Devices(std::uint32_t survivors, std::uint32_t dropped, std::uint64_t parameters, std::uint32_t value_bits,
                 std::uint32_t element_bits, std::uint64_t seed)
    : survivors_(survivors),
      parameters_(parameters),
      zero_((1U << (value_bits - 1)) - 1),
      element_bits_(element_bits),
      random_(seed) {
  for (std::uint32_t i = 0; i < survivors + dropped; ++i) {
    members_.push_back(
        {secagg::KeyPair::Generate(random_), secagg::KeyPair::Generate(random_), secagg::Secret::Random(random_), {}, {}});
  }
}

Status Devices::Join(secagg::Server& server, const std::string& round_id) {
  for (const Member& member : members_) {
    EF_ASSIGN_OR_RETURN([[maybe_unused]] const auto index,
                        server.AddAdvert({member.cipher.public_key, member.mask.public_key}));
  }
  const auto count = static_cast<std::uint32_t>(members_.size());
  const std::uint32_t threshold = survivors_ / 2 + 1;
  EF_RETURN_IF_ERROR(server.CloseRoster({.degree = count - 1, .threshold = threshold}, survivors_));
  EF_ASSIGN_OR_RETURN(const secagg::RoundSetup setup, server.Setup(1));
  const secagg::SessionId session = secagg::SessionIdOf(setup);
  for (std::uint32_t sender = 1; sender <= count; ++sender) {
    Member& member = members_[sender - 1];
    member.mask_key_shares = secagg::SplitSecret(member.mask.secret, threshold, count - 1, random_);
    member.self_mask_shares = secagg::SplitSecret(member.self_mask_seed, threshold, count - 1, random_);
    secagg::SharedKeys shared{.seed_commitment = ToBytes(secagg::SeedCommitment(member.self_mask_seed, session, sender)),
                              .sealed = Bytes((count - 1) * secagg::kSealedSize)};  // opaque to the server
    random_.Fill(shared.sealed);
    EF_RETURN_IF_ERROR(server.AddShares(sender, shared));
  }
  PrepareMasks(secagg::DigestOfRound(round_id), session);
  return server.CloseSharing();
}

void Devices::PrepareMasks(const secagg::RoundDigest& round, const secagg::SessionId& session) {
  for (std::uint32_t index = 1; index <= survivors_; ++index) {
    std::vector<secagg::MaskTerm>& masks = masks_.emplace_back();
    const Member& own = members_[index - 1];
    masks.push_back({secagg::SelfMaskKey(own.self_mask_seed, session, index), secagg::MaskSign::kAdd});
    for (std::uint32_t other = survivors_ + 1; other <= members_.size(); ++other) {
      const auto agreed = secagg::Agree(own.mask.secret, members_[other - 1].mask.public_key);
      const secagg::MemberPair pair{round, session, index, other, own.mask.public_key, members_[other - 1].mask.public_key};
      masks.push_back({secagg::PairwiseMaskKey(*agreed, pair), secagg::PairwiseSign(index, other)});
    }
  }
}

Status Devices::Stream(std::uint32_t index, const Sink& sink) const {
  std::vector<std::uint32_t> chunk(kChunkWords);
  Bytes bytes(secagg::PackedSize(kChunkWords, element_bits_));
  const std::uint64_t length = parameters_ + 1;
  const secagg::MaskSet masks(masks_[index - 1], secagg::MaskCipher::kAes256Ctr);
  for (std::uint64_t begin = 0; begin < length; begin += kChunkWords) {
    const auto part = std::span(chunk).first(std::min<std::uint64_t>(kChunkWords, length - begin));
    for (std::size_t i = 0; i < part.size(); ++i) part[i] = zero_ + static_cast<std::uint32_t>(PlainValue(index, begin + i));
    if (begin + part.size() == length) part.back() = kExamples;
    masks.Apply(begin, part);
    const auto packed = std::span(bytes).first(secagg::PackedSize(part.size(), element_bits_));
    secagg::Pack(part, element_bits_, packed);
    EF_RETURN_IF_ERROR(sink(secagg::PackedSize(begin, element_bits_), packed));
  }
  return OkStatus();
}

Status Devices::Answer(secagg::Server& server) const {
  EF_ASSIGN_OR_RETURN(const Bytes survivors, server.SurvivorBitmap());
  const std::size_t senders = members_.size() - 1;
  for (std::uint32_t index = 1; index <= survivors_; ++index) {
    secagg::UnmaskAnswer answer{.survivors_digest = ToBytes(secagg::SurvivorsDigest(survivors)),
                                .held = Bytes(secagg::BitmapSize(senders))};
    for (std::size_t place = 0; place < senders; ++place) secagg::SetBit(answer.held, place);
    for (std::uint32_t owner = 1; owner <= members_.size(); ++owner) {
      if (owner == index) continue;
      const Member& member = members_[owner - 1];
      const std::size_t place = index < owner ? index - 1 : index - 2;  // among the owner's neighbours, who are all others
      const auto& shares = owner <= survivors_ ? member.self_mask_shares : member.mask_key_shares;
      const auto share = shares[place].bytes();
      answer.shares.insert(answer.shares.end(), share.begin(), share.end());
    }
    EF_RETURN_IF_ERROR(server.AddAnswer(index, answer));
  }
  return OkStatus();
}

std::int64_t Devices::ExpectedSum(std::uint64_t position) const {
  std::int64_t sum = 0;
  for (std::uint32_t index = 1; index <= survivors_; ++index) sum += PlainValue(index, position);
  return sum;
}

}  // namespace edgefleet::load_tests
