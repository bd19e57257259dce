// Functions of one value as oneDNN's elementwise algorithms. Internal to the onednn delegate.
#pragma once

#include <dnnl.hpp>
#include <vector>

#include "device_client/runtime/operators.h"

namespace edgefleet::runtime::onednn {

struct Eltwise {
  dnnl::algorithm algorithm;
  float alpha = 0;
  float beta = 0;
};

// Whether oneDNN has the function.
bool HasEltwise(const Activation& function);

// The algorithms whose composition, first to last, is the function; none for the identity. HasEltwise(function).
std::vector<Eltwise> EltwiseOf(const Activation& function);

void AppendEltwise(const Activation& function, dnnl::post_ops& post_ops);

}  // namespace edgefleet::runtime::onednn
