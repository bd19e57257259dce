#include "tests/secagg/fleet.h"

#include "secagg/words.h"

namespace edgefleet::secagg::testing {
namespace {

constexpr const char* kRound = "round-7";

}  // namespace

Fleet::Fleet(std::uint32_t members, std::uint32_t needed, std::uint64_t vector_length, std::uint64_t seed)
    : threshold(needed),
      random(seed),
      updates(members, Words(vector_length)),
      masked(members),
      sent(members),
      server(Server::Create({kRound, vector_length, kMembersMax}).value()),
      sum(vector_length) {
  for (Words& update : updates) random.Fill(std::as_writable_bytes(std::span(update)));
  for (std::uint32_t i = 0; i < members; ++i) clients.emplace_back(kRound, random);
}

Status Fleet::AdvertiseAndClose() {
  for (Client& member : clients) {
    EF_ASSIGN_OR_RETURN(const KeyAdvert advert, member.AdvertiseKeys());
    EF_ASSIGN_OR_RETURN([[maybe_unused]] const auto index, server.AddAdvert(advert));
  }
  return server.CloseRoster(threshold);
}

Status Fleet::ShareAndClose(const std::set<std::uint32_t>& missing) {
  for (std::uint32_t index = 1; index <= clients.size(); ++index) {
    if (missing.contains(index)) continue;
    EF_ASSIGN_OR_RETURN(const RoundSetup setup, server.Setup(index));
    EF_ASSIGN_OR_RETURN(sent[index - 1], client(index).ShareKeys(setup));
    EF_RETURN_IF_ERROR(server.AddShares(index, sent[index - 1]));
  }
  return server.CloseSharing();
}

Status Fleet::UploadAndClose(const std::set<std::uint32_t>& missing) {
  for (std::uint32_t index = 1; index <= clients.size(); ++index) {
    if (sent[index - 1].empty() || missing.contains(index)) continue;
    EF_ASSIGN_OR_RETURN(const auto inbox, server.Inbox(index));
    Words words = updates[index - 1];
    EF_RETURN_IF_ERROR(client(index).Mask(inbox, words));
    EF_RETURN_IF_ERROR(server.AddUpload(index));
    AddWords(sum, words);
    masked[index - 1] = std::move(words);
  }
  return server.CloseUploads();
}

Status Fleet::AnswerAndUnmask(const std::set<std::uint32_t>& missing, ThreadPool* pool) {
  for (const std::uint32_t index : server.survivors()) {
    if (missing.contains(index)) continue;
    EF_ASSIGN_OR_RETURN(const UnmaskAnswer answer, client(index).Unmask(server.survivors()));
    EF_RETURN_IF_ERROR(server.AddAnswer(index, answer));
  }
  return server.Unmask(sum, pool);
}

Status Fleet::Play(const Dropouts& dropouts, ThreadPool* pool) {
  EF_RETURN_IF_ERROR(AdvertiseAndClose());
  EF_RETURN_IF_ERROR(ShareAndClose(dropouts.before_sharing));
  EF_RETURN_IF_ERROR(UploadAndClose(dropouts.before_upload));
  return AnswerAndUnmask(dropouts.before_unmasking, pool);
}

Words Fleet::PlainSum(const std::vector<std::uint32_t>& members) const {
  Words total(sum.size());
  for (const std::uint32_t index : members) AddWords(total, updates[index - 1]);
  return total;
}

}  // namespace edgefleet::secagg::testing
