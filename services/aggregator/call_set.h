// The outgoing calls of one gateway, so that stopping can cut them short.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <mutex>
#include <set>

#include "proto/rpc/status.h"

namespace edgefleet::services::aggregator {

// Thread-safe.
class CallSet {
 public:
  // Cancels what is under way and what comes.
  void CancelAll() {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (auto* context : calls_) context->TryCancel();
  }

 private:
  friend class OutgoingCall;
  std::mutex mutex_;
  std::set<grpc::ClientContext*> calls_;
  bool cancelled_ = false;
};

// One call: deadline, trace, and its place in the set.
class OutgoingCall {
 public:
  OutgoingCall(CallSet& set, std::chrono::milliseconds timeout) : set_(set) {
    rpc::PrepareCall(context_, timeout);
    std::lock_guard lock(set_.mutex_);
    set_.calls_.insert(&context_);
    if (set_.cancelled_) context_.TryCancel();
  }
  ~OutgoingCall() {
    std::lock_guard lock(set_.mutex_);
    set_.calls_.erase(&context_);
  }
  OutgoingCall(const OutgoingCall&) = delete;
  OutgoingCall& operator=(const OutgoingCall&) = delete;

  grpc::ClientContext* context() { return &context_; }
  Status Outcome(const grpc::Status& status) const { return rpc::FromGrpc(status, context_); }

 private:
  CallSet& set_;
  grpc::ClientContext context_;
};

}  // namespace edgefleet::services::aggregator
