// A client of grpc.health.v1.Health/Watch (https://github.com/grpc/grpc/blob/master/doc/health-checking.md) on raw messages,
// since Debian ships no generated stubs: HealthCheckRequest {string service = 1}, HealthCheckResponse {enum status = 1}.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

namespace edgefleet::services {

class HealthWatch {
 public:
  static constexpr int kServing = 1;
  static constexpr int kNotServing = 2;

  HealthWatch(const std::string& target, const std::string& service)
      : stub_(grpc::CreateChannel(target, grpc::InsecureChannelCredentials())) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    context_.set_wait_for_ready(true);
    call_ = stub_.PrepareCall(&context_, "/grpc.health.v1.Health/Watch", &queue_);
    call_->StartCall(this);
    EXPECT_TRUE(Done());
    const std::string request = service.empty() ? "" : "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
    grpc::Slice slice(request);
    call_->WriteLast(grpc::ByteBuffer(&slice, 1), {}, this);
    EXPECT_TRUE(Done());
  }
  ~HealthWatch() {
    context_.TryCancel();
    grpc::Status status;
    call_->Finish(&status, this);
    Done();
  }

  // The next status that the server sends; nothing when the stream has ended.
  std::optional<int> Next() {
    grpc::ByteBuffer message;
    call_->Read(&message, this);
    if (!Done()) return std::nullopt;
    grpc::Slice slice;
    EXPECT_TRUE(message.DumpToSingleSlice(&slice).ok());
    return slice.size() == 2 ? slice.begin()[1] : 0;
  }

 private:
  bool Done() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

}  // namespace edgefleet::services
