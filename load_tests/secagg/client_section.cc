// A device's work in a round of 1,000 members with 100 neighbours each, on one core.
#include <algorithm>

#include "load_tests/secagg/calibration.h"
#include "load_tests/secagg/section.h"
#include "load_tests/secagg/simulated_round.h"
#include "secagg/shamir.h"

namespace edgefleet::load_tests {
namespace {

using nlohmann::json;

// The threshold keeps a tenth of corrupt members at bay in the active variant too.
constexpr std::uint32_t kNeighbours = 100, kThreshold = 75;
constexpr std::size_t kAgreements = 2 * kNeighbours;

double SecondsOf(const std::function<void()>& task) { return BestSeconds({.small = true}, 1, {task})[0]; }

void AddPrimitives(const BenchSize& size, json& rows) {
  SeededRandom random(5);
  const secagg::Secret secret = secagg::Secret::Random(random);
  const auto sodium = BareX25519(), open_ssl = OpenSslX25519();
  const std::vector<double> best = BestSeconds(size, 25,
                                               {[&] { sodium(kAgreements); }, [&] { open_ssl(kAgreements); },
                                                [&] { SplitSecret(secret, kThreshold, kNeighbours, random); }});
  rows.push_back(Row("x25519", best[0] / kAgreements * 1e6, "us"));
  rows.push_back(Row("x25519_openssl", best[1] / kAgreements * 1e6, "us"));
  rows.push_back(Row("x25519_two_for_each_of_100_neighbours", best[0] * 1e3, "ms"));
  rows.push_back(RowAtMost(size, "share_32_bytes_75_of_100", best[2] * 1e3, "ms", 0.15));
}

// Each of some members sets up its keys anew, checks the setup, agrees with every neighbour, splits both secrets and seals the
// shares.
void AddSharing(const BenchSize& size, secagg::Adversary adversary, const std::string& name, json& rows) {
  RoundOptions options{.members = 1000,
                       .graph = {kNeighbours, kThreshold},
                       .survivors_min = 900,
                       .vector_length = 1 << 20,
                       .adversary = adversary};
  if (size.small) options = {12, {11, 8}, 11, 5'000, adversary};
  const bool active = adversary == secagg::Adversary::kActive;
  SimulatedRound round(options);
  std::vector<double> advertise, share;
  auto server = Must(secagg::Server::Create({.config = ConfigOf(options),
                                             .server_nonce = Bytes(secagg::kDigestSize, std::byte{7}),
                                             .authorities = round.members().authorities()}));
  for (std::uint32_t index = 1; index <= options.members; ++index) {
    Result<secagg::KeyAdvert> advert = Internal("UNSET", "");
    advertise.push_back(SecondsOf([&] { advert = round.members()[index].AdvertiseKeys(); }));
    Must(server.AddAdvert(Must(std::move(advert))));
  }
  Must(server.CloseRoster(options.graph, options.survivors_min));
  const std::uint32_t measured = size.small ? 2 : 60;
  for (std::uint32_t index = 1; index <= measured; ++index) {
    const secagg::RoundSetup setup = Must(server.Setup(index));
    share.push_back(SecondsOf([&] { Must(round.members()[index].ShareKeys(setup)); }));
  }
  const double best = std::ranges::min(advertise) + std::ranges::min(share);
  rows.push_back(Row("client_advertise_" + name, std::ranges::min(advertise) * 1e3, "ms"));
  if (active) {
    rows.push_back(Row("client_keys_and_sharing_" + name, best * 1e3, "ms"));
  } else {
    rows.push_back(RowAtMost(size, "client_keys_and_sharing_" + name, best * 1e3, "ms", 10));
  }
}

// From the inbox and the plain update to what is uploaded, but for the packing.
void AddMasking(const BenchSize& size, json& rows) {
  // The complete graph of 101 members: as many neighbours, fewer members to set up.
  RoundOptions options{
      .members = kNeighbours + 1, .graph = {kNeighbours, kThreshold}, .survivors_min = 91, .vector_length = 1'000'000};
  if (size.small) options = {9, {8, 5}, 8, 5'000};
  SimulatedRound round(options);
  round.Advertise();
  round.Share();
  double best = 1e9;
  Words words(options.vector_length);
  for (std::uint32_t index = 1; index <= std::min(options.members, 25U); ++index) {
    const secagg::Inbox inbox = Must(round.server().InboxOf(index));
    FillUpdate(index, words);
    best = std::min(best, SecondsOf([&] { Must(round.members()[index].Mask(inbox, words)); }));
  }
  rows.push_back(RowAtMost(size, "client_mask_1M_100_neighbours", best * 1e3, "ms", 32));
}

}  // namespace

json ClientSection(const BenchSize& size) {
  json rows = json::array();
  AddPrimitives(size, rows);
  AddSharing(size, secagg::Adversary::kSemiHonest, "semi_honest", rows);
  AddSharing(size, secagg::Adversary::kActive, "active", rows);
  AddMasking(size, rows);
  return rows;
}

}  // namespace edgefleet::load_tests
