// The gateway against a server that sends what no server of ours would.
#include "device_client/federated/grpc_gateway.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>

#include "edgefleet/rounds/v1/rounds.grpc.pb.h"
#include "edgefleet/selection/v1/selection.grpc.pb.h"

namespace edgefleet::device {
namespace {

namespace rounds = edgefleet::rounds::v1;
namespace selection = edgefleet::selection::v1;

struct ScriptedRounds final : rounds::RoundService::Service {
  rounds::PhaseUpdate update;
  rounds::AdvertiseKeysRequest advert;
  rounds::ConfirmRequest confirmation;
  rounds::UploadUpdateRequest::Header upload;
  grpc::Status AwaitPhase(grpc::ServerContext*, const rounds::AwaitPhaseRequest*, rounds::PhaseUpdate* out) override {
    *out = update;
    return grpc::Status::OK;
  }
  grpc::Status AdvertiseKeys(grpc::ServerContext*, const rounds::AdvertiseKeysRequest* in, rounds::PhaseTicket*) override {
    advert = *in;
    return grpc::Status::OK;
  }
  grpc::Status GetUpload(grpc::ServerContext*, const rounds::GetUploadRequest*, rounds::UploadState*) override {
    return grpc::Status::OK;
  }
  grpc::Status UploadUpdate(grpc::ServerContext*, grpc::ServerReader<rounds::UploadUpdateRequest>* reader,
                            rounds::UploadState*) override {
    rounds::UploadUpdateRequest message;
    while (reader->Read(&message)) {
      if (message.has_header()) upload = message.header();
    }
    return grpc::Status::OK;
  }
  grpc::Status Confirm(grpc::ServerContext*, const rounds::ConfirmRequest* in, rounds::PhaseTicket*) override {
    confirmation = *in;
    return grpc::Status::OK;
  }
};

struct ScriptedSelector final : selection::CheckInService::Service {
  selection::CheckInResponse response;
  grpc::Status CheckIn(grpc::ServerContext*, const selection::CheckInRequest*, selection::CheckInResponse* out) override {
    *out = response;
    return grpc::Status::OK;
  }
};

class GrpcGateway : public ::testing::Test {
 protected:
  void SetUp() override {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&rounds_);
    builder.RegisterService(&selector_);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
    fleet_ = MakeGrpcFleetGateway(address_, "device-1", "phone", GrpcChannels::Create());
    round_ = fleet_->OpenRound({.task_id = "t", .round_id = "round-1", .aggregator_address = address_});

    auto* assignment = selector_.response.mutable_assignment();
    assignment->set_round_id("round-1");
    assignment->set_aggregator_address(address_);
    assignment->set_token(std::string(16, 't'));
    assignment->mutable_plan()->set_model("m");
    assignment->mutable_plan()->set_layout_sha256(std::string(32, 'l'));
    assignment->mutable_plan()->set_encoding_seed(std::string(32, 'e'));

    rounds_.update.set_phase(rounds::PHASE_TRAINING);
    auto* training = rounds_.update.mutable_training();
    training->set_index(2);
    training->set_members(4);
    training->set_degree(3);
    training->set_threshold(2);
    training->set_survivors_min(3);
    training->set_adversary(selection::ADVERSARY_ACTIVE);
    training->set_vector_length(10);
    training->set_element_bits(17);
    training->set_fingerprints(std::string(4 * 8, 'i'));
    training->set_roster_path(std::string(2 * 32, 'p'));
    for (const char neighbour : {'a', 'b', 'c'}) {
      training->mutable_neighbour_keys()->append(32, neighbour).append(32, static_cast<char>(neighbour + 3));
      const auto next = static_cast<char>(neighbour + 3);
      training->mutable_neighbour_credentials()->append(32, 'k').append(64, neighbour).append(64, next);
    }
    for (const char member : {'m', 'n'}) training->mutable_committee_credentials()->append(32, member).append(64, 'c');
  }
  Result<PhaseUpdate> Await() const { return round_->AwaitPhase(Phase::kSelecting, std::chrono::milliseconds(10)); }
  // Of the answer after `spoil`.
  std::string ReasonAfter(const std::function<void(rounds::PhaseUpdate::Training&)>& spoil) {
    const auto before = rounds_.update;
    spoil(*rounds_.update.mutable_training());
    const auto update = Await();
    rounds_.update = before;
    return update ? "" : update.error().reason();
  }
  std::string ReasonAfterCheckIn(const std::function<void(selection::Assignment&)>& spoil) {
    const auto before = selector_.response;
    spoil(*selector_.response.mutable_assignment());
    const auto outcome = fleet_->CheckIn({});
    selector_.response = before;
    return outcome ? "" : outcome.error().reason();
  }

  ScriptedRounds rounds_;
  ScriptedSelector selector_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::unique_ptr<FleetGateway> fleet_;
  std::unique_ptr<RoundGateway> round_;
};

Bytes Repeated(char value, std::size_t size) { return Bytes(size, static_cast<std::byte>(value)); }

TEST_F(GrpcGateway, TakesTheSetupApart) {
  const auto update = Await();
  ASSERT_TRUE(update) << update.error().ToString();
  const auto& setup = update->setup;
  EXPECT_EQ(setup.config,
            (secagg::SessionConfig{"round-1", secagg::Adversary::kActive, secagg::MaskCipher::kAes256Ctr, 10, 17}));
  EXPECT_EQ(setup.graph, (secagg::GraphParameters{3, 2}));
  EXPECT_EQ(setup.fingerprints, Repeated('i', 4 * 8));
  EXPECT_EQ(setup.roster_path, Repeated('p', 2 * 32));
  ASSERT_EQ(setup.neighbours.size(), 3U);
  EXPECT_EQ(setup.neighbours[1].cipher_public_key, Repeated('b', 32));
  EXPECT_EQ(setup.neighbours[1].mask_public_key, Repeated('e', 32));
  EXPECT_EQ(setup.neighbours[0].identity_key, Repeated('k', 32));
  EXPECT_EQ(setup.neighbours[2].certificate, Repeated('c', 64));
  EXPECT_EQ(setup.neighbours[2].signature, Repeated('f', 64));
  EXPECT_EQ(setup.committee,
            (std::vector<secagg::Credential>{{Repeated('m', 32), Repeated('c', 64)}, {Repeated('n', 32), Repeated('c', 64)}}));
}

TEST_F(GrpcGateway, RefusesSizesThatDoNotFit) {
  using Training = rounds::PhaseUpdate::Training;
  EXPECT_EQ(ReasonAfter([](Training&) {}), "");
  for (const auto& spoil : std::vector<std::function<void(Training&)>>{
           [](Training& t) { t.set_degree(2); }, [](Training& t) { t.set_degree(4'294'967'295U); },
           [](Training& t) { t.set_members(0); }, [](Training& t) { t.set_members(16'385); },
           [](Training& t) { t.mutable_neighbour_keys()->pop_back(); },
           [](Training& t) { t.mutable_neighbour_keys()->append(3'000'000, 'x'); },
           [](Training& t) { t.clear_neighbour_credentials(); }, [](Training& t) { t.mutable_fingerprints()->push_back('x'); },
           [](Training& t) { t.mutable_committee_credentials()->push_back('x'); },
           [](Training& t) { t.mutable_committee_credentials()->append(2 * 96, 'x'); },
           [](Training& t) { t.mutable_roster_path()->append(13 * 32, 'x'); },
           // Of the semi-honest variant, which has neither.
           [](Training& t) { t.set_adversary(selection::ADVERSARY_SEMI_HONEST); }}) {
    EXPECT_EQ(ReasonAfter(spoil), "BAD_ANSWER");
  }
  EXPECT_EQ(ReasonAfter([](Training& t) { t.set_adversary(static_cast<selection::Adversary>(9)); }), "UNKNOWN_ADVERSARY");
  EXPECT_EQ(ReasonAfter([](Training& t) { t.set_mask_cipher(static_cast<rounds::MaskCipher>(9)); }), "UNKNOWN_MASK_CIPHER");
  rounds_.update.mutable_collecting()->set_sharers(std::string(2049, 'x'));
  EXPECT_EQ(Await().error().reason(), "BAD_ANSWER");
  rounds_.update.mutable_unmasking()->set_uploads(std::string(16'384 * 64 + 1, 'x'));
  EXPECT_EQ(Await().error().reason(), "BAD_ANSWER");
  rounds_.update.clear_need();
  rounds_.update.set_phase(static_cast<rounds::Phase>(10));
  EXPECT_EQ(Await().error().reason(), "BAD_ANSWER");
}

TEST_F(GrpcGateway, RefusesAssignmentsOfWrongSizes) {
  EXPECT_EQ(ReasonAfterCheckIn([](selection::Assignment&) {}), "");
  for (const auto& spoil : std::vector<std::function<void(selection::Assignment&)>>{
           [](selection::Assignment& a) { a.clear_round_id(); },
           [](selection::Assignment& a) { a.set_round_id(std::string(257, 'r')); },
           [](selection::Assignment& a) { a.set_aggregator_address(std::string(100'000, 'a')); },
           [](selection::Assignment& a) { a.mutable_token()->push_back('t'); },
           [](selection::Assignment& a) { a.clear_token(); },
           [](selection::Assignment& a) { a.mutable_plan()->mutable_layout_sha256()->pop_back(); },
           [](selection::Assignment& a) { a.mutable_plan()->mutable_encoding_seed()->push_back('e'); },
           [](selection::Assignment& a) { a.mutable_plan()->set_manifest_path(std::string(100'000, 'p')); }}) {
    EXPECT_EQ(ReasonAfterCheckIn(spoil), "BAD_ANSWER");
  }
}

TEST_F(GrpcGateway, SendsWhatActiveRoundsNeed) {
  ASSERT_TRUE(
      round_->AdvertiseKeys({Repeated('c', 32), Repeated('m', 32), Repeated('i', 32), Repeated('z', 64), Repeated('s', 64)})
          .ok());
  EXPECT_EQ(rounds_.advert.identity_key(), std::string(32, 'i'));
  EXPECT_EQ(rounds_.advert.certificate(), std::string(64, 'z'));
  EXPECT_EQ(rounds_.advert.signature(), std::string(64, 's'));
  ASSERT_TRUE(round_->Confirm({Repeated('s', 64)}).ok());
  EXPECT_EQ(rounds_.confirmation.signature(), std::string(64, 's'));
  ASSERT_TRUE(round_->UploadUpdate(Repeated('u', 10), {Repeated('p', 64)}).ok());
  EXPECT_EQ(rounds_.upload.proof_signature(), std::string(64, 'p'));
  rounds_.update.mutable_collecting()->set_sharers("abc");
  rounds_.update.mutable_collecting()->set_senders("de");
  rounds_.update.set_phase(rounds::PHASE_COLLECTING);
  EXPECT_EQ(Await()->inbox.sharers, ToBytes(AsBytes("abc")));
  EXPECT_EQ(Await()->inbox.senders, ToBytes(AsBytes("de")));
  rounds_.update.mutable_unmasking()->set_survivors("abc");
  rounds_.update.mutable_unmasking()->set_uploads("defg");
  rounds_.update.set_phase(rounds::PHASE_UNMASKING);
  EXPECT_EQ(Await()->request.survivors, ToBytes(AsBytes("abc")));
  EXPECT_EQ(Await()->request.uploads, ToBytes(AsBytes("defg")));
}

}  // namespace
}  // namespace edgefleet::device
