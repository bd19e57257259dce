// edgefleet device list
#include "services/cli/commands.h"

namespace edgefleet::cli {
namespace {

namespace pb = selection::v1;
using Cohorts = Client::Cohorts;

struct ListSpec {
  std::uint32_t limit = 1000;
};

std::string Power(const pb::DeviceProfile& profile) {
  return std::to_string(profile.battery_percent()) + " %" + (profile.charging() ? ", charging" : "");
}

Row DeviceRow(const pb::Device& device) {
  const auto& profile = device.profile();
  const std::string model =
      profile.model_version() == 0 ? "-" : profile.model() + "@" + std::to_string(profile.model_version());
  return {device.device_id(),
          profile.device_class(),
          profile.region(),
          profile.os(),
          Power(profile),
          EnumName(*pb::Network_descriptor(), profile.network()),
          profile.idle() ? "yes" : "no",
          std::to_string(profile.example_count()),
          model,
          device.round_id().empty() ? "-" : device.round_id(),
          FormatTime(device.last_seen_unix_ms())};
}

Status List(Context& context, const ListSpec& spec) {
  pb::ListDevicesRequest request;
  pb::ListDevicesResponse all;
  do {
    request.set_page_size(std::min<std::uint32_t>(1000, spec.limit - static_cast<std::uint32_t>(all.devices_size())));
    EF_ASSIGN_OR_RETURN(auto page, context.client.Call(context.client.cohorts, &Cohorts::StubInterface::ListDevices, request));
    for (auto& device : *page.mutable_devices()) all.add_devices()->Swap(&device);
    all.set_total(page.total());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && static_cast<std::uint32_t>(all.devices_size()) < spec.limit);
  if (context.out.json) {
    context.out.PrintJson({{"devices", ToJson(all)["devices"]}, {"total", all.total()}});
    return OkStatus();
  }
  if (all.devices_size() == 0) return context.out.PrintLine("no device has checked in lately"), OkStatus();
  std::vector<Row> rows;
  for (const auto& device : all.devices()) rows.push_back(DeviceRow(device));
  context.out.PrintTable(
      {"DEVICE", "CLASS", "REGION", "OS", "BATTERY", "NETWORK", "IDLE", "EXAMPLES", "MODEL", "ROUND", "SEEN (UTC)"}, rows);
  context.out.PrintLine(std::to_string(rows.size()) + " of " + std::to_string(all.total()) + " devices");
  return OkStatus();
}

}  // namespace

void AddDeviceCommands(CLI::App& app, Action& action) {
  CLI::App* device = app.add_subcommand("device", "the devices that check in");
  device->require_subcommand(1);
  device->fallthrough();
  auto spec = std::make_shared<ListSpec>();
  auto* command = AddCommand(*device, action, "list", "devices that checked in lately",
                             "  edgefleet device list --limit 20\n  edgefleet device list --json\n", &List, spec);
  command->add_option("--limit", spec->limit, "at most this many")->capture_default_str()->check(CLI::Range(1u, 10'000'000u));
}

}  // namespace edgefleet::cli
