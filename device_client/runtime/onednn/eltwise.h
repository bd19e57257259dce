// Functions of one value as oneDNN computes them in fp32. Internal to the onednn delegate.
#pragma once

#include <dnnl.hpp>
#include <optional>

#include "device_client/runtime/operators.h"

namespace edgefleet::runtime::onednn {

struct Eltwise {
  dnnl::algorithm algorithm = dnnl::algorithm::undef;
  float alpha = 0;
  float beta = 0;
};

// Nothing for functions that oneDNN lacks or approximates too roughly, and for kIdentity.
std::optional<Eltwise> EltwiseOf(const Activation& function);

}  // namespace edgefleet::runtime::onednn
