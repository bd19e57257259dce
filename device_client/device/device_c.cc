#include "device_client/device/device_c.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <stop_token>
#include <utility>

#include "device_client/device/device.h"

namespace {

namespace device = edgefleet::device;
using edgefleet::Error;
using edgefleet::InvalidArgument;
using edgefleet::OkStatus;
using edgefleet::Result;
using edgefleet::Status;

template <std::size_t N>
void CopyText(char (&to)[N], const std::string& text) {
  const std::size_t size = std::min(text.size(), N - 1);
  std::memcpy(to, text.data(), size);
  to[size] = '\0';
}

ef_code Report(const Status& status, ef_status* out) {
  if (out != nullptr) {
    out->code = static_cast<ef_code>(status.code());
    CopyText(out->reason, status.reason());
    CopyText(out->message, status.message());
    out->retry_after_ms = status.retry_after() ? status.retry_after()->count() : -1;
  }
  return static_cast<ef_code>(status.code());
}

std::string Text(const char* text, const char* otherwise = "") { return text != nullptr ? text : otherwise; }

// Structs of callers built against an older header are smaller; so far only ef_device_options has grown.
template <typename Struct>
Status CheckStruct(const Struct* value) {
  if (value == nullptr || value->struct_size != sizeof(Struct)) {
    return InvalidArgument("BAD_STRUCT", "a struct is missing, or its struct_size is not set to sizeof of it");
  }
  return OkStatus();
}

// The caller's options; what its header did not have yet is 0.
Result<ef_device_options> WholeOptions(const ef_device_options* from) {
  constexpr std::array kSizes{offsetof(ef_device_options, enrolment_keys), offsetof(ef_device_options, model_memory_bytes_max),
                              sizeof(ef_device_options)};
  if (from == nullptr || std::ranges::find(kSizes, from->struct_size) == kSizes.end()) {
    return InvalidArgument("BAD_STRUCT", "the options are missing, or their struct_size is not set to sizeof of them");
  }
  ef_device_options options{};
  std::memcpy(&options, from, from->struct_size);
  return options;
}

Result<std::vector<edgefleet::crypto::Ed25519PublicKey>> ParseKeys(const char* what, const char* const* keys,
                                                                   std::size_t count) {
  if (keys == nullptr && count > 0) return InvalidArgument("BAD_OPTIONS", std::string(what) + " is NULL");
  std::vector<edgefleet::crypto::Ed25519PublicKey> parsed;
  for (std::size_t i = 0; i < count; ++i) {
    EF_ASSIGN_OR_RETURN(parsed.emplace_back(), edgefleet::crypto::ParseEd25519PublicKey(Text(keys[i])));
  }
  return parsed;
}

void SetPolicy(const ef_device_options& from, edgefleet::secagg::ClientPolicy& policy) {
  if (from.require_active != 0) policy.adversary = edgefleet::secagg::Adversary::kActive;
  if (from.corrupt_fraction != 0) policy.corrupt_fraction = from.corrupt_fraction;
  if (from.members_min != 0) policy.members_min = from.members_min;
  if (from.survivors_min != 0) policy.survivors_min = from.survivors_min;
}

Result<device::DeviceOptions> ToOptions(const ef_device_options* given) {
  EF_ASSIGN_OR_RETURN(const ef_device_options whole, WholeOptions(given));
  const ef_device_options* from = &whole;
  device::DeviceOptions options;
  options.state_dir = Text(from->state_dir);
  options.device_id = Text(from->device_id);
  options.device_class = Text(from->device_class);
  options.region = Text(from->region);
  options.os = Text(from->os, "linux");
  options.model = Text(from->model);
  options.alias = Text(from->alias, "stable");
  options.variant = Text(from->variant, "int8");
  options.origin_url = Text(from->origin_url);
  options.fleet_address = Text(from->fleet_address);
  options.delegate = Text(from->delegate, "onednn");
  options.threads = from->threads > 0 ? from->threads : 1;
  options.identity_certificate = Text(from->identity_certificate);
  if (from->model_memory_bytes_max != 0) options.model_memory_bytes_max = from->model_memory_bytes_max;
  if (from->load_mode < EF_LOAD_MAPPED || from->load_mode > EF_LOAD_STREAMING) {
    return InvalidArgument("BAD_OPTIONS", "load_mode is none of ef_load_mode");
  }
  options.load_mode = static_cast<edgefleet::runtime::LoadMode>(from->load_mode);
  SetPolicy(whole, options.secure_aggregation);
  EF_ASSIGN_OR_RETURN(options.trusted_keys, ParseKeys("trusted_keys", from->trusted_keys, from->trusted_key_count));
  EF_ASSIGN_OR_RETURN(options.secure_aggregation.authorities,
                      ParseKeys("enrolment_keys", from->enrolment_keys, from->enrolment_key_count));
  return options;
}

class CallbackDataset final : public edgefleet::runtime::Dataset {
 public:
  explicit CallbackDataset(const ef_examples& examples) : examples_(examples) {}
  std::size_t size() const override { return examples_.size; }
  std::size_t example_size() const override { return examples_.example_size; }
  void CopyExample(std::size_t index, std::span<float> out) const override {
    examples_.copy(examples_.user, index, out.data());
  }
  std::int32_t Label(std::size_t index) const override { return examples_.label(examples_.user, index); }

 private:
  const ef_examples examples_;
};

}  // namespace

struct ef_device {
  std::unique_ptr<device::Device> device;
  std::mutex mutex;
  std::stop_source stop;

  device::Control NewControl() {
    std::lock_guard lock(mutex);
    stop = std::stop_source();
    return {.stop = stop.get_token()};
  }
};

extern "C" {

ef_code ef_device_open(const ef_device_options* options, ef_device** device, ef_status* status) {
  if (device == nullptr) return Report(Status(InvalidArgument("BAD_ARGUMENT", "device is NULL")), status);
  *device = nullptr;
  auto converted = ToOptions(options);
  if (!converted) return Report(converted.error(), status);
  auto opened = device::Device::Open(std::move(*converted));
  if (!opened) return Report(opened.error(), status);
  *device = new ef_device{.device = std::move(*opened), .mutex = {}, .stop = {}};
  return Report(OkStatus(), status);
}

void ef_device_close(ef_device* device) { delete device; }

ef_code ef_device_active(ef_device* device, ef_active_model* active, ef_status* status) {
  if (Status check = CheckStruct(active); !check.ok()) return Report(check, status);
  active->version = 0;
  active->model[0] = active->variant[0] = '\0';
  if (const auto model = device->device->active()) {
    active->version = model->version;
    CopyText(active->model, model->model);
    CopyText(active->variant, model->variant);
  }
  return Report(OkStatus(), status);
}

ef_code ef_device_update(ef_device* device, ef_update_result* result, ef_status* status) {
  if (Status check = CheckStruct(result); !check.ok()) return Report(check, status);
  const auto updated = device->device->Update(device->NewControl());
  if (!updated) return Report(updated.error(), status);
  result->changed = updated->changed ? 1 : 0;
  result->from_version = updated->from_version;
  result->to_version = updated->to_version;
  result->by_delta = updated->by_delta ? 1 : 0;
  result->bytes_transferred = updated->bytes_transferred;
  return Report(OkStatus(), status);
}

ef_code ef_device_rollback(ef_device* device, ef_status* status) { return Report(device->device->Rollback(), status); }

ef_code ef_device_identity(ef_device* device, char hex[65], ef_status* status) {
  if (hex == nullptr) return Report(Status(InvalidArgument("BAD_ARGUMENT", "hex is NULL")), status);
  const auto key = device->device->Identity();
  if (!key) return Report(key.error(), status);
  const std::string text = edgefleet::HexEncode(*key);
  std::memcpy(hex, text.c_str(), text.size() + 1);
  return Report(OkStatus(), status);
}

ef_code ef_device_infer(ef_device* device, const float* input, size_t input_count, float* output, size_t* output_count,
                        ef_status* status) {
  if (input == nullptr || output_count == nullptr || (output == nullptr && *output_count > 0)) {
    return Report(Status(InvalidArgument("BAD_ARGUMENT", "input, output and output_count are needed")), status);
  }
  const auto result = device->device->Infer({input, input_count});
  if (!result) return Report(result.error(), status);
  const std::size_t capacity = std::exchange(*output_count, result->size());
  if (result->size() > capacity) {
    return Report(Status(edgefleet::StatusCode::kOutOfRange, "OUTPUT_TOO_SMALL",
                         "the model yields " + std::to_string(result->size()) + " values"),
                  status);
  }
  std::copy(result->begin(), result->end(), output);
  return Report(OkStatus(), status);
}

ef_code ef_device_participate(ef_device* device, const ef_conditions* conditions, const ef_examples* examples,
                              ef_participation* result, ef_status* status) {
  for (Status check : {CheckStruct(conditions), CheckStruct(examples), CheckStruct(result)}) {
    if (!check.ok()) return Report(check, status);
  }
  if (examples->copy == nullptr || examples->label == nullptr) {
    return Report(Status(InvalidArgument("BAD_ARGUMENT", "examples need copy and label")), status);
  }
  const device::Conditions now{conditions->battery_percent, conditions->charging != 0,
                               static_cast<device::Network>(conditions->network), conditions->idle != 0};
  const auto outcome = device->device->Participate(now, CallbackDataset(*examples), device->NewControl());
  if (!outcome) return Report(outcome.error(), status);
  result->kind = static_cast<ef_participation_kind>(outcome->kind);
  CopyText(result->round_id, outcome->round_id);
  CopyText(result->reason, outcome->reason);
  result->retry_after_ms = outcome->retry_after.count();
  return Report(OkStatus(), status);
}

void ef_device_stop(ef_device* device) {
  std::lock_guard lock(device->mutex);
  device->stop.request_stop();
}

const char* ef_version(void) { return "0.1.0"; }

}  // extern "C"
