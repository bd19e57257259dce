// edgefleet device list | authority | enroll
#include "base/crypto/key_file.h"
#include "base/file.h"
#include "secagg/identity.h"
#include "services/cli/commands.h"

namespace edgefleet::cli {
namespace {

namespace fs = std::filesystem;
namespace pb = selection::v1;
using Cohorts = Client::Cohorts;

struct ListSpec {
  std::uint32_t limit = 1000;
};
struct AuthoritySpec {
  std::string output;
};
struct EnrollSpec {
  std::string authority;
  std::string identity;  // 64 hexadecimal digits, or a file with them
  std::string output;
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

Status MakeAuthority(Context& context, const AuthoritySpec& spec) {
  const fs::path public_file = spec.output + ".pub";
  for (const fs::path& file : {fs::path(spec.output), public_file}) {
    std::error_code ignored;
    if (!fs::exists(file, ignored)) continue;
    return InvalidArgument(kReasonUsage, file.string() + " exists; an authority's key is not overwritten");
  }
  const auto key = crypto::Ed25519SecretKey::Generate();
  EF_RETURN_IF_ERROR(crypto::WriteEd25519SecretKey(spec.output, key));
  EF_RETURN_IF_ERROR(crypto::WriteEd25519PublicKey(public_file, key.public_key()));
  const std::string hex = HexEncode(key.public_key());
  if (context.out.json) {
    context.out.PrintJson({{"key_file", spec.output}, {"public_key_file", public_file.string()}, {"public_key", hex}});
    return OkStatus();
  }
  context.out.PrintFields({{"key (secret)", spec.output}, {"public key", public_file.string()}, {"hexadecimal", hex}});
  context.out.Note("enrol devices with 'edgefleet device enroll --authority " + spec.output +
                   " --identity PUBKEY'; aggregators and devices trust the public key");
  return OkStatus();
}

Status Enroll(Context& context, const EnrollSpec& spec) {
  std::error_code ignored;
  auto identity = fs::exists(spec.identity, ignored) ? crypto::ReadEd25519PublicKey(spec.identity)
                                                     : crypto::ParseEd25519PublicKey(spec.identity);
  if (!identity) {
    return InvalidArgument(kReasonUsage,
                           "--identity must be a device's public key of 64 hexadecimal digits, or a file with it");
  }
  auto authority = crypto::ReadEd25519SecretKey(spec.authority);
  if (!authority) return InvalidArgument(kReasonUsage, "--authority: " + authority.error().message());
  const std::string certificate = HexEncode(secagg::EnrolIdentity(*authority, *identity));
  if (!spec.output.empty()) EF_RETURN_IF_ERROR(WriteFileAtomic(spec.output, AsBytes(certificate + "\n")));
  if (context.out.json) {
    context.out.PrintJson(
        {{"identity", HexEncode(*identity)}, {"certificate", certificate}, {"authority", HexEncode(authority->public_key())}});
  } else {
    context.out.PrintLine(certificate);
  }
  return OkStatus();
}

void AddEnrolment(CLI::App& device, Action& action) {
  auto authority = std::make_shared<AuthoritySpec>();
  auto* command =
      AddCommand(device, action, "authority", "make the key that enrols devices for rounds against an active adversary",
                 "  edgefleet device authority --out authority.key\n", &MakeAuthority, authority);
  command->add_option("--out", authority->output, "file for the secret key; the public one is put beside it, as FILE.pub")
      ->required();
  auto enroll = std::make_shared<EnrollSpec>();
  command = AddCommand(device, action, "enroll", "certify a device's identity key",
                       "  edgefleet device enroll --authority authority.key --identity identity.pub --out identity.cert\n",
                       &Enroll, enroll);
  command->add_option("--authority", enroll->authority, "file with the authority's secret key")
      ->required()
      ->check(CLI::ExistingFile);
  command->add_option("--identity", enroll->identity, "the device's public key: 64 hexadecimal digits, or a file with them")
      ->required();
  command->add_option("--out", enroll->output, "also write the certificate to this file, as devices read it");
}

}  // namespace

void AddDeviceCommands(CLI::App& app, Action& action) {
  CLI::App* device = app.add_subcommand("device", "the devices that check in, and their enrolment");
  device->require_subcommand(1);
  device->fallthrough();
  auto spec = std::make_shared<ListSpec>();
  auto* command = AddCommand(*device, action, "list", "devices that checked in lately",
                             "  edgefleet device list --limit 20\n  edgefleet device list --json\n", &List, spec);
  command->add_option("--limit", spec->limit, "at most this many")->capture_default_str()->check(CLI::Range(1u, 10'000'000u));
  AddEnrolment(*device, action);
}

}  // namespace edgefleet::cli
