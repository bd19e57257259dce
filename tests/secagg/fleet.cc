#include "tests/secagg/fleet.h"

#include <algorithm>

#include "secagg/packing.h"
#include "secagg/server_states.h"

namespace edgefleet::secagg::testing {
namespace {

void Add(Words& into, const Words& words) {
  for (std::size_t i = 0; i < into.size(); ++i) into[i] += words[i];
}

Server MakeServer(const FleetOptions& options, const crypto::Ed25519SecretKey& authority) {
  ServerOptions server{.config = {.round_id = kRound,
                                  .adversary = options.adversary,
                                  .cipher = options.cipher,
                                  .vector_length = options.vector_length,
                                  .element_bits = options.element_bits},
                       .server_nonce = Bytes(kDigestSize, std::byte{7})};
  if (options.adversary == Adversary::kActive) server.authorities = {authority.public_key()};
  return Server::Create(std::move(server)).value();
}

}  // namespace

Bytes BitmapOf(const std::vector<std::uint32_t>& members, std::size_t things) {
  Bytes bitmap(BitmapSize(things));
  for (const std::uint32_t member : members) SetBit(bitmap, member - 1);
  return bitmap;
}

FleetOptions LeavingOut(FleetOptions options, std::uint32_t member) {
  if (options.adversary != Adversary::kActive) return options;
  for (;; ++options.seed) {
    Fleet fleet(options);
    if (!fleet.AdvertiseAndClose().ok()) return options;
    const auto& committee = fleet.server.ledger().committee;
    if (std::ranges::find(committee, member) == committee.end()) return options;
  }
}

Fleet::Fleet(const FleetOptions& fleet)
    : options(fleet),
      random(fleet.seed),
      authority(crypto::Ed25519SecretKey::FromSeed(Bytes(32, std::byte{1})).value()),
      guards(fleet.members),
      updates(fleet.members, Words(fleet.vector_length)),
      masked(fleet.members),
      sent(fleet.members),
      proofs(fleet.members),
      server(MakeServer(fleet, authority)),
      sum(fleet.vector_length) {
  for (Words& update : updates) {
    random.Fill(std::as_writable_bytes(std::span(update)));
    TruncateWords(update, options.element_bits);
  }
  for (std::uint32_t index = 1; index <= options.members; ++index) {
    Bytes seed(32);
    random.Fill(seed);
    const auto key = crypto::Ed25519SecretKey::FromSeed(seed).value();
    identities.push_back({key, EnrolIdentity(authority, key.public_key())});
    clients.emplace_back(OptionsOf(index), guards[index - 1], random);
  }
}

ClientOptions Fleet::OptionsOf(std::uint32_t index) const {
  ClientOptions made{.round_id = kRound, .adversary = options.adversary, .policy = {.corrupt_fraction = 0}};
  if (!active()) return made;
  made.identity = identities[index - 1];
  made.policy.authorities = {authority.public_key()};
  return made;
}

Status Fleet::AdvertiseAndClose() {
  for (Client& member : clients) {
    EF_ASSIGN_OR_RETURN(const KeyAdvert advert, member.AdvertiseKeys());
    EF_ASSIGN_OR_RETURN([[maybe_unused]] const auto index, server.AddAdvert(advert));
  }
  return server.CloseRoster(options.graph, options.survivors_min);
}

Status Fleet::ShareAndClose(const std::set<std::uint32_t>& missing) {
  for (std::uint32_t index = 1; index <= clients.size(); ++index) {
    if (missing.contains(index)) continue;
    EF_ASSIGN_OR_RETURN(const RoundSetup setup, server.Setup(index));
    EF_ASSIGN_OR_RETURN(sent[index - 1], client(index).ShareKeys(setup));
    EF_RETURN_IF_ERROR(server.AddShares(index, *sent[index - 1]));
  }
  return server.CloseSharing();
}

Status Fleet::UploadAndClose(const std::set<std::uint32_t>& missing) {
  for (std::uint32_t index = 1; index <= clients.size(); ++index) {
    if (!server.IsSharer(index) || missing.contains(index)) continue;
    EF_ASSIGN_OR_RETURN(const Inbox inbox, server.InboxOf(index));
    Words words = updates[index - 1];
    EF_ASSIGN_OR_RETURN(const UploadProof proof, client(index).Mask(inbox, words));
    EF_RETURN_IF_ERROR(server.AddUpload(index, proof));
    proofs[index - 1] = proof;
    Add(sum, words);
    masked[index - 1] = std::move(words);
  }
  return server.CloseUploads();
}

Status Fleet::ConfirmAndClose(const std::set<std::uint32_t>& missing) {
  if (!active()) return OkStatus();
  EF_ASSIGN_OR_RETURN(const Bytes survivors, server.SurvivorBitmap());
  for (const std::uint32_t index : server.survivors()) {
    if (missing.contains(index) || !server.IsConfirmer(index)) continue;
    EF_ASSIGN_OR_RETURN(const Confirmation confirmation, client(index).Confirm(survivors));
    EF_RETURN_IF_ERROR(server.AddConfirmation(index, confirmation));
  }
  return server.CloseConfirmations();
}

Status Fleet::AnswerAndUnmask(const std::set<std::uint32_t>& missing, ThreadPool* pool) {
  for (const std::uint32_t index : server.survivors()) {
    if (missing.contains(index)) continue;
    EF_ASSIGN_OR_RETURN(const UnmaskRequest request, server.Request(index));
    EF_ASSIGN_OR_RETURN(const UnmaskAnswer answer, client(index).Unmask(request));
    EF_RETURN_IF_ERROR(server.AddAnswer(index, answer));
  }
  return server.Unmask(sum, pool);
}

Status Fleet::Play(const Dropouts& dropouts, ThreadPool* pool) {
  EF_RETURN_IF_ERROR(AdvertiseAndClose());
  EF_RETURN_IF_ERROR(ShareAndClose(dropouts.before_sharing));
  EF_RETURN_IF_ERROR(UploadAndClose(dropouts.before_upload));
  EF_RETURN_IF_ERROR(ConfirmAndClose(dropouts.before_confirming));
  std::set<std::uint32_t> silent = dropouts.before_confirming;
  silent.insert(dropouts.before_unmasking.begin(), dropouts.before_unmasking.end());
  return AnswerAndUnmask(silent, pool);
}

Words Fleet::PlainSum(const std::vector<std::uint32_t>& members) const {
  Words total(sum.size());
  for (const std::uint32_t index : members) Add(total, updates[index - 1]);
  TruncateWords(total, options.element_bits);
  return total;
}

}  // namespace edgefleet::secagg::testing
