#include <future>

#include "edgefleet/rounds/v1/rounds.grpc.pb.h"
#include "proto/rpc/status.h"
#include "services/aggregator/convert.h"
#include "services/aggregator/grpc_services.h"

namespace edgefleet::services::aggregator {
namespace {

namespace pb = edgefleet::rounds::v1;
using grpc::CallbackServerContext;
using rounds::ActiveRound;

constexpr std::uint32_t kWaitMsMax = 30'000;
constexpr std::size_t kLeaveReasonMax = 256;

// An answer of the round that ends a call with a message made of it.
template <typename Message, typename T, typename Convert>
rounds::Answer<T> Reply(std::shared_ptr<Deferred<Message>> deferred, Convert convert) {
  return [deferred = std::move(deferred), convert](Result<T> result) {
    if (result) {
      deferred->Finish(convert(*result));
    } else {
      deferred->Finish(std::move(result).error());
    }
  };
}

rounds::Answer<rounds::Phase> Ticket(std::shared_ptr<Deferred<pb::PhaseTicket>> deferred) {
  return Reply<pb::PhaseTicket, rounds::Phase>(std::move(deferred), [](rounds::Phase phase) {
    pb::PhaseTicket ticket;
    ticket.set_phase(ToProto(phase));
    return ticket;
  });
}

// Waits for an answer; only on threads that may block.
template <typename T, typename Start>
Result<T> Await(Start start) {
  auto promise = std::make_shared<std::promise<Result<T>>>();
  auto future = promise->get_future();
  start([promise](Result<T> result) { promise->set_value(std::move(result)); });
  return future.get();
}

using FindRound = std::function<Result<std::shared_ptr<ActiveRound>>(const std::string&)>;

// One UploadUpdate stream: a header, then chunks.
class UpdateSink final : public UploadSink<pb::UploadUpdateRequest, pb::UploadState> {
 public:
  explicit UpdateSink(FindRound find_round) : find_round_(std::move(find_round)) {}

  Status Write(const pb::UploadUpdateRequest& message) override {
    if (message.has_header() == (upload_ != nullptr)) {
      return InvalidArgument("BAD_UPDATE", "the first message holds the header, all others a chunk");
    }
    if (message.has_header()) return Begin(message.header());
    if (message.chunk().size() > rpc::kChunkBytesMax) return InvalidArgument("BAD_UPDATE", "a chunk has at most 1 MiB");
    return upload_->Append(AsBytes(message.chunk()));
  }

  Status Close(pb::UploadState& response) override {
    if (upload_ == nullptr) return InvalidArgument("BAD_UPDATE", "the stream held no header");
    EF_ASSIGN_OR_RETURN(const auto progress,
                        Await<aggregation::UploadProgress>([this](auto answer) { upload_->Finish(std::move(answer)); }));
    response = ToProto(progress);
    return OkStatus();
  }

 private:
  Status Begin(const pb::UploadUpdateRequest::Header& header) {
    EF_ASSIGN_OR_RETURN(const auto who, FromProto(header.participant()));
    EF_ASSIGN_OR_RETURN(const auto upload, FromProto(header));
    EF_ASSIGN_OR_RETURN(const auto round, find_round_(who.round_id));
    EF_ASSIGN_OR_RETURN(upload_, Await<std::shared_ptr<rounds::Upload>>(
                                     [&](auto answer) { round->BeginUpload(who, upload, std::move(answer)); }));
    return OkStatus();
  }

  const FindRound find_round_;
  std::shared_ptr<rounds::Upload> upload_;
};

class RoundService final : public pb::RoundService::CallbackService {
 public:
  RoundService(HandlerContext& handlers, std::function<rounds::Coordinator*()> coordinator)
      : handlers_(handlers), coordinator_(std::move(coordinator)) {}

  grpc::ServerUnaryReactor* AdvertiseKeys(CallbackServerContext* context, const pb::AdvertiseKeysRequest* request,
                                          pb::PhaseTicket* response) override {
    return Run(context, "RoundService/AdvertiseKeys", request, response,
               [](ActiveRound& round, rounds::Participant who, const pb::AdvertiseKeysRequest& req, auto deferred) -> Status {
                 EF_ASSIGN_OR_RETURN(auto advert, FromProto(req));
                 round.AdvertiseKeys(std::move(who), std::move(advert), Ticket(std::move(deferred)));
                 return OkStatus();
               });
  }

  grpc::ServerUnaryReactor* AwaitPhase(CallbackServerContext* context, const pb::AwaitPhaseRequest* request,
                                       pb::PhaseUpdate* response) override {
    return Run(context, "RoundService/AwaitPhase", request, response,
               [](ActiveRound& round, rounds::Participant who, const pb::AwaitPhaseRequest& req, auto deferred) -> Status {
                 if (req.wait_ms() > kWaitMsMax) return InvalidArgument("BAD_WAIT", "wait_ms is at most 30,000");
                 if (!pb::Phase_IsValid(req.after_phase())) return InvalidArgument("BAD_PHASE", "after_phase is no phase");
                 round.AwaitPhase(std::move(who), static_cast<rounds::Phase>(req.after_phase()), Millis(req.wait_ms()),
                                  Reply<pb::PhaseUpdate, rounds::PhaseUpdate>(
                                      std::move(deferred), [](const rounds::PhaseUpdate& update) { return ToProto(update); }));
                 return OkStatus();
               });
  }

  grpc::ServerUnaryReactor* ShareKeys(CallbackServerContext* context, const pb::ShareKeysRequest* request,
                                      pb::PhaseTicket* response) override {
    return Run(context, "RoundService/ShareKeys", request, response,
               [](ActiveRound& round, rounds::Participant who, const pb::ShareKeysRequest& req, auto deferred) -> Status {
                 EF_ASSIGN_OR_RETURN(auto shared, FromProto(req));
                 round.ShareKeys(std::move(who), std::move(shared), Ticket(std::move(deferred)));
                 return OkStatus();
               });
  }

  grpc::ServerUnaryReactor* GetUpload(CallbackServerContext* context, const pb::GetUploadRequest* request,
                                      pb::UploadState* response) override {
    return Run(context, "RoundService/GetUpload", request, response,
               [](ActiveRound& round, rounds::Participant who, const pb::GetUploadRequest&, auto deferred) -> Status {
                 round.GetUpload(std::move(who), Reply<pb::UploadState, aggregation::UploadProgress>(
                                                     std::move(deferred), [](const aggregation::UploadProgress& progress) {
                                                       return ToProto(progress);
                                                     }));
                 return OkStatus();
               });
  }

  grpc::ServerReadReactor<pb::UploadUpdateRequest>* UploadUpdate(CallbackServerContext* context,
                                                                 pb::UploadState* response) override {
    return RunUpload<pb::UploadUpdateRequest, pb::UploadState>(
        handlers_, context, "RoundService/UploadUpdate", response,
        std::make_unique<UpdateSink>([this](const std::string& round_id) { return coordinator_()->FindRound(round_id); }));
  }

  grpc::ServerUnaryReactor* Confirm(CallbackServerContext* context, const pb::ConfirmRequest* request,
                                    pb::PhaseTicket* response) override {
    return Run(context, "RoundService/Confirm", request, response,
               [](ActiveRound& round, rounds::Participant who, const pb::ConfirmRequest& req, auto deferred) -> Status {
                 EF_ASSIGN_OR_RETURN(auto confirmation, FromProto(req));
                 round.Confirm(std::move(who), std::move(confirmation), Ticket(std::move(deferred)));
                 return OkStatus();
               });
  }

  grpc::ServerUnaryReactor* Unmask(CallbackServerContext* context, const pb::UnmaskRequest* request,
                                   pb::PhaseTicket* response) override {
    return Run(context, "RoundService/Unmask", request, response,
               [](ActiveRound& round, rounds::Participant who, const pb::UnmaskRequest& req, auto deferred) -> Status {
                 EF_ASSIGN_OR_RETURN(auto answer, FromProto(req));
                 round.Unmask(std::move(who), std::move(answer), Ticket(std::move(deferred)));
                 return OkStatus();
               });
  }

  grpc::ServerUnaryReactor* LeaveRound(CallbackServerContext* context, const pb::LeaveRoundRequest* request,
                                       pb::LeaveRoundResponse* response) override {
    return Run(context, "RoundService/LeaveRound", request, response,
               [](ActiveRound& round, rounds::Participant who, const pb::LeaveRoundRequest& req, auto deferred) -> Status {
                 if (req.reason().size() > kLeaveReasonMax) return InvalidArgument("BAD_REASON", "at most 256 characters");
                 round.Leave(std::move(who), req.reason(),
                             Reply<pb::LeaveRoundResponse, rounds::Phase>(
                                 std::move(deferred), [](rounds::Phase) { return pb::LeaveRoundResponse(); }));
                 return OkStatus();
               });
  }

 private:
  // A device's message: who speaks and the round are found first, then `handle` passes the message on or refuses it.
  template <typename Req, typename Res, typename Handle>
  grpc::ServerUnaryReactor* Run(CallbackServerContext* context, const char* method, const Req* request, Res* response,
                                Handle handle) {
    return RunDeferred(handlers_, context, method, request, response,
                       [this, handle](const Req& req, std::shared_ptr<Deferred<Res>> deferred) {
                         auto pass = [&]() -> Status {
                           EF_ASSIGN_OR_RETURN(auto who, FromProto(req.participant()));
                           EF_ASSIGN_OR_RETURN(const auto round, coordinator_()->FindRound(who.round_id));
                           return handle(*round, std::move(who), req, deferred);
                         };
                         if (Status status = pass(); !status.ok()) deferred->Finish(std::move(status));
                       });
  }

  HandlerContext& handlers_;
  const std::function<rounds::Coordinator*()> coordinator_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeRoundService(HandlerContext& handlers, std::function<rounds::Coordinator*()> coordinator) {
  return std::make_unique<RoundService>(handlers, std::move(coordinator));
}

}  // namespace edgefleet::services::aggregator
