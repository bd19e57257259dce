#include "base/crypto/crypto.h"
#include "base/file_handle.h"
#include "edgefleet/rounds/v1/rounds.grpc.pb.h"
#include "services/aggregator/convert.h"
#include "services/aggregator/grpc_services.h"
#include "services/runtime/file_chunks.h"

namespace edgefleet::services::aggregator {
namespace {

namespace pb = edgefleet::rounds::v1;
using grpc::CallbackServerContext;

// Sends what the coordinator tells to one call.
class GrpcWatcher final : public rounds::TaskWatcher {
 public:
  explicit GrpcWatcher(std::shared_ptr<EventWriter<pb::TaskEvent>> writer) : writer_(std::move(writer)) {}

  bool Push(const rounds::TaskEvent& event) override {
    pb::TaskEvent message;
    *message.mutable_task() = ToProto(event.task);
    if (event.round) *message.mutable_round() = ToProto(*event.round);
    const bool pushed = writer_->Push(std::move(message));
    if (event.task.state != rounds::TaskState::kRunning) writer_->Close(OkStatus());
    return pushed;
  }
  bool listening() const override { return !writer_->done(); }

 private:
  const std::shared_ptr<EventWriter<pb::TaskEvent>> writer_;
};

class TaskService final : public pb::TaskService::CallbackService {
 public:
  TaskService(HandlerContext& handlers, std::function<rounds::Coordinator*()> coordinator, std::filesystem::path transcripts)
      : handlers_(handlers), coordinator_(std::move(coordinator)), transcripts_(std::move(transcripts)) {}

  grpc::ServerUnaryReactor* CreateTask(CallbackServerContext* context, const pb::CreateTaskRequest* request,
                                       pb::Task* response) override {
    return RunUnary(handlers_, context, "TaskService/CreateTask", request, response,
                    [this](const pb::CreateTaskRequest& req, pb::Task& res) -> Status {
                      EF_RETURN_IF_ERROR(CheckRequestId(req.request_id()));
                      EF_ASSIGN_OR_RETURN(const auto spec, FromProto(req.spec()));
                      const std::string fingerprint = crypto::Sha256Hex(AsBytes(req.spec().SerializeAsString()));
                      EF_ASSIGN_OR_RETURN(const auto task, coordinator_()->CreateTask(req.request_id(), fingerprint, spec));
                      res = ToProto(task);
                      return OkStatus();
                    });
  }

  grpc::ServerUnaryReactor* GetTask(CallbackServerContext* context, const pb::GetTaskRequest* request,
                                    pb::Task* response) override {
    return RunUnary(handlers_, context, "TaskService/GetTask", request, response,
                    [this](const pb::GetTaskRequest& req, pb::Task& res) -> Status {
                      EF_ASSIGN_OR_RETURN(const auto task, coordinator_()->store().GetTask(req.task_id()));
                      res = ToProto(task);
                      return OkStatus();
                    });
  }

  grpc::ServerUnaryReactor* ListTasks(CallbackServerContext* context, const pb::ListTasksRequest* request,
                                      pb::ListTasksResponse* response) override {
    return RunUnary(handlers_, context, "TaskService/ListTasks", request, response,
                    [this](const pb::ListTasksRequest& req, pb::ListTasksResponse& res) -> Status {
                      EF_ASSIGN_OR_RETURN(const auto size, PageSize(req.page_size()));
                      EF_ASSIGN_OR_RETURN(const auto page, coordinator_()->store().ListTasks(size, req.page_token()));
                      for (const auto& task : page.items) *res.add_tasks() = ToProto(task);
                      res.set_next_page_token(page.next_page_token);
                      return OkStatus();
                    });
  }

  grpc::ServerUnaryReactor* ListRounds(CallbackServerContext* context, const pb::ListRoundsRequest* request,
                                       pb::ListRoundsResponse* response) override {
    return RunUnary(handlers_, context, "TaskService/ListRounds", request, response,
                    [this](const pb::ListRoundsRequest& req, pb::ListRoundsResponse& res) -> Status {
                      EF_ASSIGN_OR_RETURN(const auto size, PageSize(req.page_size()));
                      EF_ASSIGN_OR_RETURN(const auto page,
                                          coordinator_()->store().ListRounds(req.task_id(), size, req.page_token()));
                      for (const auto& round : page.items) *res.add_rounds() = ToProto(round);
                      res.set_next_page_token(page.next_page_token);
                      return OkStatus();
                    });
  }

  grpc::ServerUnaryReactor* CancelTask(CallbackServerContext* context, const pb::CancelTaskRequest* request,
                                       pb::Task* response) override {
    return RunUnary(handlers_, context, "TaskService/CancelTask", request, response,
                    [this](const pb::CancelTaskRequest& req, pb::Task& res) -> Status {
                      EF_RETURN_IF_ERROR(CheckRequestId(req.request_id()));
                      EF_ASSIGN_OR_RETURN(const auto task, coordinator_()->CancelTask(req.request_id(), req.task_id()));
                      res = ToProto(task);
                      return OkStatus();
                    });
  }

  grpc::ServerWriteReactor<pb::TaskEvent>* WatchTask(CallbackServerContext* context,
                                                     const pb::GetTaskRequest* request) override {
    return RunWatch<pb::TaskEvent>(
        handlers_, context, "TaskService/WatchTask", request,
        [this](const pb::GetTaskRequest& req, std::shared_ptr<EventWriter<pb::TaskEvent>> writer) -> Status {
          return coordinator_()->Watch(req.task_id(), std::make_unique<GrpcWatcher>(std::move(writer)));
        });
  }

  grpc::ServerWriteReactor<pb::TranscriptChunk>* GetTranscript(CallbackServerContext* context,
                                                               const pb::GetTranscriptRequest* request) override {
    return RunDownload<pb::TranscriptChunk>(
        handlers_, context, "TaskService/GetTranscript", request,
        [this](const pb::GetTranscriptRequest& req) -> Result<Producer<pb::TranscriptChunk>> {
          if (!CheckRequestId(req.round_id()).ok()) {  // also: it makes no path to another folder
            return InvalidArgument("BAD_ROUND_ID", "round_id must be 1 to 64 characters of [A-Za-z0-9._-]");
          }
          auto file = FileHandle::Open(rounds::TranscriptFile(transcripts_, req.round_id()));
          if (!file) {
            return NotFound("TRANSCRIPT_UNKNOWN",
                            "no transcript of round '" + req.round_id() +
                                "' lies here: it is with the aggregator that ran the round, or was removed because newer ones "
                                "had filled aggregator.transcripts_bytes_max");
          }
          return ReadChunks<pb::TranscriptChunk>(std::move(*file), 0);
        });
  }

 private:
  HandlerContext& handlers_;
  const std::function<rounds::Coordinator*()> coordinator_;
  const std::filesystem::path transcripts_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeTaskService(HandlerContext& handlers, std::function<rounds::Coordinator*()> coordinator,
                                               std::filesystem::path transcripts) {
  return std::make_unique<TaskService>(handlers, std::move(coordinator), std::move(transcripts));
}

}  // namespace edgefleet::services::aggregator
