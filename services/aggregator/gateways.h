// The ports of aggregator/rounds as gRPC clients of the registry and the selector.
#pragma once

#include <memory>
#include <string>

#include "aggregator/rounds/ports.h"

namespace grpc {
class Channel;
}

namespace edgefleet::services::aggregator {

class RegistryGateway : public rounds::ModelGateway {
 public:
  // Calls under way, and later ones, end at once.
  virtual void CancelAll() = 0;
};
class SelectorGateway : public rounds::CohortGateway {
 public:
  virtual void CancelAll() = 0;
};

std::unique_ptr<RegistryGateway> MakeRegistryGateway(std::shared_ptr<grpc::Channel> channel);
// `aggregator_address`: what assigned devices dial.
std::unique_ptr<SelectorGateway> MakeSelectorGateway(std::shared_ptr<grpc::Channel> channel, std::string aggregator_address);

}  // namespace edgefleet::services::aggregator
