// Whole secure aggregations in which the input says what is altered, lost, repeated or out of turn: each message between each
// device and the server, in both variants, on a complete and a sparse graph. A refused message changes nothing, so that the
// honest one succeeds after it; a device says each thing once; and the sum is exact or the round fails cleanly.
#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "tests/fuzz/require.h"
#include "tests/fuzz/secagg_alter.h"
#include "tests/fuzz/target.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::fuzz {
namespace {

using secagg::testing::Fleet;
using secagg::testing::FleetOptions;
using secagg::testing::Words;

FleetOptions OptionsFrom(const Decision& decision) {
  FleetOptions options{.vector_length = 1 + decision.bytes[4] % 32U,
                       .element_bits = 32 - decision.bytes[3] % 32U,
                       .adversary = decision.has(0) ? secagg::Adversary::kActive : secagg::Adversary::kSemiHonest,
                       .cipher = decision.has(1) ? secagg::MaskCipher::kAes128Ctr : secagg::MaskCipher::kAes256Ctr};
  if (decision.has(2)) {
    options.members = 8;
    options.graph = {6, 4};
    options.survivors_min = 6;
  }
  return options;
}

class Round {
 public:
  explicit Round(ByteView input) : decisions_(input), fleet_(OptionsFrom(decisions_.Next())) {}

  void Play() {
    if (!Advertise() || !Share() || !Upload() || (fleet_.active() && !Confirm())) return;
    Unmask();
  }

 private:
  secagg::Server& server() { return fleet_.server; }

  // Delivers `honest`, but for what the next decision says: bit 0: an altered one first; bit 1: another member's first; bit 2:
  // then nothing more; bit 3: a repetition after it; bit 4: messages out of turn before it. What has been accepted, if
  // anything.
  template <typename Message, typename Deliver, typename StateOf>
  std::optional<Message> Exchange(const Message& honest, std::vector<Message>& earlier, const Deliver& deliver,
                                  const StateOf& state) {
    const Decision decision = decisions_.Next();
    if (decision.has(4)) Intrude(decision);
    Message hostile = honest;
    if (decision.has(1) && !earlier.empty()) hostile = earlier[decision.place() % earlier.size()];
    if (decision.has(0)) Alter(hostile, decision);
    earlier.push_back(honest);
    if (Flat(hostile) != Flat(honest)) {
      const std::string before(state());
      if (deliver(hostile).ok()) {
        altered_ = true;
        return hostile;
      }
      Require(state() == before);
    }
    if (decision.has(2)) return std::nullopt;
    const std::string before(state());
    const Status status = deliver(honest);
    Require(status.ok() || altered_);
    if (!status.ok()) {
      Require(state() == before);
      return std::nullopt;
    }
    if (decision.has(3)) {
      const std::string after(state());
      static_cast<void>(deliver(honest));
      Require(state() == after);
    }
    return honest;
  }

  // Something that neither side expects at this time: arbitrary in all its parts.
  template <typename Message>
  static Message Arbitrary(Decision decision) {
    Message message;
    decision.bytes[4] = 6;
    for (Bytes* string : PartsOf(message).strings) {
      ++decision.bytes[2];
      AlterString(*string, decision);
    }
    for (const auto number : PartsOf(message).numbers) AlterNumber(number, decision);
    return message;
  }
  void Intrude(const Decision& decision) {
    const std::uint32_t index = decision.size() % (fleet_.options.members + 2);
    secagg::Client& client = fleet_.client(1 + index % fleet_.options.members);
    const std::string client_state(client.state()), server_state(server().state());
    Words words(fleet_.options.vector_length);
    Require(!client.ShareKeys(Arbitrary<secagg::RoundSetup>(decision)));
    Require(!client.Mask(Arbitrary<secagg::Inbox>(decision), words) && words == Words(words.size()));
    const Bytes survivors = Arbitrary<Bytes>(decision);  // may be some that could be
    const bool said = client.Confirm(survivors).has_value() || client.Unmask({.survivors = survivors}).has_value();
    if (said) SaidOnce(1 + index % fleet_.options.members, survivors);
    altered_ |= said;
    Require(!client.Unmask(Arbitrary<secagg::UnmaskRequest>(decision)));
    Require(!server().AddAdvert({}));
    Require(!server().AddShares(index, Arbitrary<secagg::SharedKeys>(decision)).ok());
    Require(!server().AddConfirmation(index, Arbitrary<secagg::Confirmation>(decision)).ok());
    Require(!server().AddAnswer(index, Arbitrary<secagg::UnmaskAnswer>(decision)).ok());
    Words sum = fleet_.sum;
    Require(!server().Unmask(std::span(sum).first(sum.size() - 1), nullptr).ok() && sum == fleet_.sum);
    Require((said || client.state() == client_state) && server().state() == server_state);
  }

  auto ClientState(std::uint32_t index) {
    return [this, index] { return fleet_.client(index).state(); };
  }
  auto ServerState() {
    return [this] { return server().state(); };
  }

  // Whether the phase has ended well.
  bool Ended(const Status& status) {
    Require(status.ok() || status.reason() == "BELOW_THRESHOLD");
    return status.ok();
  }

  bool Advertise() {
    std::vector<secagg::KeyAdvert> earlier;
    for (std::uint32_t i = 1; i <= fleet_.options.members; ++i) {
      const secagg::KeyAdvert advert = fleet_.client(i).AdvertiseKeys().value();
      const auto sent = Exchange(
          advert, earlier, [&](const secagg::KeyAdvert& a) { return StatusOf(server().AddAdvert(a)); }, ServerState());
      if (!sent) return false;  // the members behind it would have other indices
      unsound_ |= sent->mask_public_key != advert.mask_public_key;
    }
    return Ended(server().CloseRoster(fleet_.options.graph, fleet_.options.survivors_min));
  }

  bool Share() {
    std::vector<secagg::RoundSetup> setups;
    std::vector<secagg::SharedKeys> earlier;
    for (std::uint32_t i = 1; i <= fleet_.options.members; ++i) {
      const secagg::RoundSetup honest = server().Setup(i).value();
      std::optional<secagg::SharedKeys> shared;
      const auto setup = Exchange(
          honest, setups,
          [&](const secagg::RoundSetup& s) {
            auto result = fleet_.client(i).ShareKeys(s);
            if (result) shared = std::move(*result);
            return StatusOf(result);
          },
          ClientState(i));
      if (!setup) continue;
      CheckAccepted(*setup, honest);
      Exchange(
          *shared, earlier, [&](const secagg::SharedKeys& s) { return server().AddShares(i, s); }, ServerState());
    }
    return Ended(server().CloseSharing());
  }
  // What a device may be made to believe about its neighbours.
  void CheckAccepted(const secagg::RoundSetup& setup, const secagg::RoundSetup& honest) {
    Require(setup.config.round_id == honest.config.round_id && setup.config.adversary == honest.config.adversary);
    Require(setup.neighbours.size() == setup.graph.degree && setup.graph.threshold >= 2);
    Require(setup.survivors_min >= std::max(2U, setup.graph.threshold));
    for (std::size_t k = 0; k < std::min(setup.neighbours.size(), honest.neighbours.size()); ++k) {
      const secagg::KeyAdvert &told = setup.neighbours[k], &right = honest.neighbours[k];
      const bool same = told.mask_public_key == right.mask_public_key && told.cipher_public_key == right.cipher_public_key;
      Require(same || !fleet_.active());
      unsound_ |= !same;
    }
  }

  bool Upload() {
    std::vector<secagg::Inbox> earlier;
    std::vector<secagg::UploadProof> proofs;
    for (std::uint32_t i = 1; i <= fleet_.options.members; ++i) {
      if (!server().IsSharer(i)) continue;
      const secagg::Inbox honest = server().InboxOf(i).value();
      Words words;
      secagg::UploadProof proof;
      const auto inbox = Exchange(
          honest, earlier,
          [&](const secagg::Inbox& in) {
            Words attempt = fleet_.updates[i - 1];
            const auto masked = fleet_.client(i).Mask(in, attempt);
            Require(masked || attempt == fleet_.updates[i - 1]);
            if (masked) words = std::move(attempt), proof = *masked;
            return StatusOf(masked);
          },
          ClientState(i));
      if (!inbox) continue;
      unsound_ |= inbox->senders != honest.senders;
      if (decisions_.Next().has(2)) continue;  // dropped with its update masked
      if (fleet_.active() && inbox->sharers != honest.sharers) {
        Require(server().AddUpload(i, proof).reason() == "BAD_SIGNATURE");
        continue;
      }
      const auto uploaded = Exchange(
          proof, proofs, [&](const secagg::UploadProof& p) { return server().AddUpload(i, p); }, ServerState());
      if (!uploaded) continue;
      for (std::size_t k = 0; k < words.size(); ++k) fleet_.sum[k] += words[k];
    }
    const bool can_close = server().CanCloseUploads();
    const bool closed = Ended(server().CloseUploads());
    Require(closed == can_close);
    return closed;
  }

  bool Confirm() {
    const Bytes honest = server().SurvivorBitmap().value();
    std::vector<Bytes> bitmaps;
    std::vector<secagg::Confirmation> earlier;
    for (const std::uint32_t i : server().survivors()) {
      if (!server().IsConfirmer(i)) continue;
      std::optional<secagg::Confirmation> confirmation;
      const auto survivors = Exchange(
          honest, bitmaps,
          [&](const Bytes& s) {
            auto result = fleet_.client(i).Confirm(s);
            if (result) SaidOnce(i, s);
            if (result) confirmation = *result;
            return StatusOf(result);
          },
          ClientState(i));
      if (!survivors) continue;
      if (*survivors != honest) {
        Require(server().AddConfirmation(i, *confirmation).reason() == "BAD_SIGNATURE");
        continue;
      }
      Exchange(
          *confirmation, earlier, [&](const secagg::Confirmation& c) { return server().AddConfirmation(i, c); }, ServerState());
    }
    const bool can_close = server().CanCloseConfirmations();
    const bool closed = Ended(server().CloseConfirmations());
    Require(closed == can_close);
    return closed;
  }

  void Unmask() {
    std::vector<secagg::UnmaskRequest> requests;
    std::vector<secagg::UnmaskAnswer> earlier;
    for (const std::uint32_t i : server().survivors()) {
      const secagg::UnmaskRequest honest = server().Request(i).value();
      std::optional<secagg::UnmaskAnswer> answer;
      const auto request = Exchange(
          honest, requests,
          [&](const secagg::UnmaskRequest& r) {
            auto result = fleet_.client(i).Unmask(r);
            if (!result) return Status(result.error());
            SaidOnce(i, r.survivors);
            Require(!answer || Flat(*answer) == Flat(*result));
            answer = std::move(*result);
            return OkStatus();
          },
          ClientState(i));
      if (!request) continue;
      Exchange(
          *answer, earlier, [&](const secagg::UnmaskAnswer& a) { return server().AddAnswer(i, a); }, ServerState());
    }
    const Words masked = fleet_.sum;
    const bool enough = server().CanUnmask();
    const Status status = server().Unmask(fleet_.sum, nullptr);
    Require(enough == (status.ok() || status.reason() == "SHARES_BEYOND_REPAIR"));
    if (!status.ok()) {
      Require(server().state() == "unmasking" && fleet_.sum == masked && (altered_ || !enough));
      return;
    }
    Require(unsound_ || fleet_.sum == fleet_.PlainSum(server().survivors()));
    Require(altered_ || server().blames().empty());
  }

  // A device speaks for one set of survivors, so it reveals one kind of share of each neighbour.
  void SaidOnce(std::uint32_t index, const Bytes& survivors) {
    const auto [said, first] = said_.try_emplace(index, survivors);
    Require(first || said->second == survivors);
  }

  Decisions decisions_;
  Fleet fleet_;
  std::map<std::uint32_t, Bytes> said_;
  bool altered_ = false;  // some altered message was accepted: by a member's doing, or because nothing forbids it
  // A device masks with other keys or neighbours than the server thinks, which a member can always do, and a server in the
  // semi-honest variant: no sum is promised.
  bool unsound_ = false;
};

}  // namespace

// An honest round: whatever is not zero makes it another.
const Bytes& Seed() {
  static const Bytes seed(75 * sizeof(Decision));
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  edgefleet::fuzz::Round({reinterpret_cast<const std::byte*>(data), size}).Play();
  return 0;
}
