// The bytes of a device in a round, both ways: every message of rounds.proto that it sends or gets, serialized, and the 5 bytes
// in front of each that gRPC frames it with. A phase is awaited once; one that lasts longer than a wait of half a minute costs
// a hundred bytes more for each.
#include <google/protobuf/message.h>

#include <string>

#include "device_client/federated/convert.h"
#include "load_tests/secagg/section.h"
#include "load_tests/secagg/simulated_round.h"
#include "secagg/packing.h"
#include "services/aggregator/convert.h"

namespace edgefleet::load_tests {
namespace {

namespace pb = edgefleet::rounds::v1;
using nlohmann::json;

constexpr std::size_t kFrameHeader = 5;
constexpr std::size_t kChunk = 1 << 20;

// All that one device sends and gets.
class DeviceTraffic {
 public:
  DeviceTraffic(SimulatedRound& round, std::uint32_t index) : round_(round), index_(index) {
    participant_.set_round_id(kRoundId);
    participant_.set_device_id(std::string(32, 'd'));
    participant_.set_token(std::string(16, 't'));
  }

  // Everything but the upload. The round has ended.
  void AddProtocol(std::uint64_t vector_length) {
    AddAdvert();
    AddSetup(vector_length);
    AddShares();
    AddInbox();
    if (!round_.confirmations().empty() && round_.server().IsConfirmer(index_)) AddConfirmation();
    AddAnswer();
    AwaitPhase({});  // the end of the round
  }
  void AddUpload(std::uint64_t vector_length);

  std::size_t total() const { return total_; }
  std::size_t key_material() const { return key_material_; }
  std::size_t payload() const { return payload_; }

 private:
  void Count(const google::protobuf::Message& message) { total_ += kFrameHeader + message.SerializeAsString().size(); }
  void CountKeys(std::size_t bytes) { key_material_ += bytes; }
  void Ticket() {
    pb::PhaseTicket ticket;
    ticket.set_phase(pb::PHASE_UNMASKING);
    Count(ticket);
  }
  template <typename Request>
  Request From(Request request) const {
    *request.mutable_participant() = participant_;
    return request;
  }
  // Asks, and counts what the aggregator tells.
  void AwaitPhase(rounds::PhaseUpdate told) {
    auto request = From(pb::AwaitPhaseRequest());
    request.set_after_phase(pb::PHASE_UNMASKING);
    request.set_wait_ms(30'000);
    Count(request);
    told.phase = rounds::Phase::kUnmasking;
    told.deadline = WallTime(std::chrono::milliseconds(1'800'000'000'000));
    Count(services::aggregator::ToProto(told));
  }

  void AddAdvert();
  void AddSetup(std::uint64_t vector_length);
  void AddShares();
  void AddInbox();
  void AddConfirmation();
  void AddAnswer();

  SimulatedRound& round_;
  const std::uint32_t index_;
  pb::Participant participant_;
  std::size_t total_ = 0, key_material_ = 0, payload_ = 0;
};

void DeviceTraffic::AddAdvert() {
  Count(From(device::ToProto(round_.adverts()[index_ - 1])));
  CountKeys(2 * secagg::kKeySize);
  Ticket();
}

void DeviceTraffic::AddSetup(std::uint64_t vector_length) {
  secagg::RoundSetup setup = Must(round_.server().Setup(index_));
  setup.config.vector_length = vector_length;
  AwaitPhase({.training = setup});
  CountKeys(setup.neighbours.size() * 2 * secagg::kKeySize);
}

void DeviceTraffic::AddShares() {
  const secagg::SharedKeys& shared = round_.shared()[index_ - 1];
  Count(From(device::ToProto(shared)));
  CountKeys(shared.seed_commitment.size() + shared.sealed.size());
  Ticket();
}

void DeviceTraffic::AddInbox() {
  const secagg::Inbox& inbox = round_.inbox(index_);
  AwaitPhase({.collecting = inbox});
  CountKeys(inbox.sealed.size());
}

void DeviceTraffic::AddUpload(std::uint64_t vector_length) {
  Words words(vector_length);
  FillUpdate(index_, words);
  std::string packed(secagg::PackedSize(words.size(), ConfigOf(round_.options()).element_bits), '\0');
  secagg::Pack(words, ConfigOf(round_.options()).element_bits, std::as_writable_bytes(std::span(packed)));
  pb::UploadState state;
  state.set_size(packed.size());
  Count(From(pb::GetUploadRequest()));
  Count(state);
  pb::UploadUpdateRequest header;
  *header.mutable_header()->mutable_participant() = participant_;
  header.mutable_header()->set_size(packed.size());
  header.mutable_header()->set_sha256(std::string(32, 's'));
  header.mutable_header()->set_proof_signature(ToString(round_.proof(index_).signature));
  Count(header);
  for (std::size_t begin = 0; begin < packed.size(); begin += kChunk) {
    pb::UploadUpdateRequest part;
    part.set_chunk(packed.substr(begin, kChunk));
    payload_ += part.chunk().size();
    Count(part);
  }
  state.set_received(packed.size());
  state.set_complete(true);
  Count(state);
}

void DeviceTraffic::AddConfirmation() {
  AwaitPhase({.confirming = Must(round_.server().SurvivorBitmap())});
  Count(From(device::ToProto(round_.confirmations()[index_ - 1])));
  Ticket();
}

void DeviceTraffic::AddAnswer() {
  AwaitPhase({.unmasking = Must(round_.server().Request(index_))});
  const secagg::UnmaskAnswer& answer = round_.answers()[index_ - 1];
  Count(From(device::ToProto(answer)));
  CountKeys(answer.shares.size());
  Ticket();
}

// The messages do not depend on the vectors but for the upload, which is added apart, so the members have short ones.
std::unique_ptr<SimulatedRound> PlayRound(RoundOptions options) {
  options.vector_length = 8;
  auto round = std::make_unique<SimulatedRound>(options);
  round->Advertise();
  round->Share();
  round->Upload([](std::uint32_t) { return true; });
  if (options.adversary == secagg::Adversary::kActive) round->Confirm();
  round->Answer();
  return round;
}

// A member that is told most: in active rounds one without neighbours in the committee.
std::uint32_t ToldMost(SimulatedRound& round) {
  std::uint32_t most = 1;
  std::size_t size = 0;
  for (std::uint32_t index = 1; index <= round.options().members; ++index) {
    const std::size_t told = Must(round.server().Setup(index)).committee.size();
    if (told > size) most = index, size = told;
  }
  return most;
}

DeviceTraffic TrafficOf(SimulatedRound& round, std::uint64_t vector_length) {
  DeviceTraffic traffic(round, ToldMost(round));
  traffic.AddProtocol(vector_length);
  traffic.AddUpload(vector_length);
  return traffic;
}

double Ratio(std::size_t part, std::size_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

void AddThousandRows(const BenchSize& size, secagg::Adversary adversary, json& rows) {
  RoundOptions options{.members = 1000, .graph = {100, 75}, .survivors_min = 900, .adversary = adversary};
  if (size.small) options = {.members = 12, .graph = {11, 8}, .survivors_min = 11, .adversary = adversary};
  const bool active = adversary == secagg::Adversary::kActive;
  const std::string variant = active ? "active" : "semi_honest";
  const auto round = PlayRound(options);
  for (const auto& [vector_length, name, bar] :
       {std::tuple{std::uint64_t{1'000'000}, "1M", 1.01}, std::tuple{std::uint64_t{100'000}, "100k", 1.10}}) {
    const DeviceTraffic traffic = TrafficOf(*round, vector_length);
    const std::string suffix = std::string("_") + name + "_" + variant;
    if (vector_length == 1'000'000) {
      rows.push_back(RowAtMost(size, "key_material_for_each_neighbour_" + variant,
                               Ratio(traffic.key_material(), options.graph.degree), "B", 280));
    }
    const std::size_t exact = (vector_length * ConfigOf(options).element_bits + 7) / 8;
    rows.push_back(RowAtMost(size, "payload_over_exact" + suffix, Ratio(traffic.payload(), exact), "", 1));
    rows.push_back(Row("traffic" + suffix, static_cast<double>(traffic.total()), "B"));
    const double ratio = Ratio(traffic.total(), traffic.payload());
    // The bars are those of the semi-honest variant: signatures and who the others are come on top in the active one.
    rows.push_back(active ? Row("traffic_over_payload" + suffix, ratio, "")
                          : RowAtMost(size, "traffic_over_payload" + suffix, ratio, "", bar));
  }
}

// The setting that Bonawitz et al. 2017 name in their abstract, with a factor of 1.73: 2^20 inputs of 16 bits, 2^10 members.
void AddPlainRow(const BenchSize& size, json& rows) {
  const secagg::Assumptions assumptions{
      .adversary = secagg::Adversary::kSemiHonest, .corrupt_fraction = 0.1, .dropout_fraction = 0.1};
  RoundOptions options{.members = 1024};
  if (size.small) options.members = 12;
  options.graph = Must(secagg::DeriveParameters(options.members, assumptions));
  options.survivors_min = options.members - TolerableDropouts(options.members, assumptions);
  const auto round = PlayRound(options);
  constexpr std::size_t kInputs = 1 << 20;
  rows.push_back(Row("degree_of_1024_members", options.graph.degree, ""));
  rows.push_back(RowAtMost(size, "traffic_over_plain_1024_members_2^20",
                           Ratio(TrafficOf(*round, kInputs).total(), kInputs * kInputBits / 8), "", 1.66));
}

}  // namespace

json TrafficSection(const BenchSize& size) {
  json rows = json::array();
  AddThousandRows(size, secagg::Adversary::kSemiHonest, rows);
  AddPlainRow(size, rows);
  AddThousandRows(size, secagg::Adversary::kActive, rows);
  return rows;
}

}  // namespace edgefleet::load_tests
