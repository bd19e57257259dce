// Verifies hostile transcripts: what an outsider alters is never taken, and what the aggregator itself signs anew, however
// wrong, is read within bounds.
#include <cstdlib>
#include <sstream>
#include <string>

#include "base/file.h"
#include "secagg/transcript/records.h"
#include "secagg/transcript/verify.h"
#include "tests/fuzz/target.h"
#include "tests/secagg/transcript_fleet.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::fuzz {
namespace {

using secagg::testing::TranscriptKey;

std::string PlayRound() {
  secagg::testing::Fleet fleet({.members = 4, .graph = {3, 2}, .survivors_min = 2, .adversary = secagg::Adversary::kActive});
  const test::TempDir dir;
  const auto path = dir.path() / "round.jsonl";
  const auto writer = secagg::TranscriptWriter::Open(path, TranscriptKey());
  if (!writer || !PlayWithTranscript(fleet, **writer, {.before_upload = {2}}).ok()) std::abort();
  return ToString(ReadFile(path, 1 << 20).value());
}

// Every line chained and signed again, whatever is in it.
std::string Resigned(const std::string& text) {
  constexpr std::size_t kHeadSize = sizeof(R"({"seq":0,"previous":")") - 1 + 64;
  std::string resigned, previous(64, '0');
  std::size_t seq = 0;
  for (const std::string& line : secagg::testing::LinesOf(text)) {
    const std::string body = line.size() > kHeadSize ? line.substr(kHeadSize, line.rfind(",\"hash\"") - kHeadSize) : line;
    const std::string hashed = R"({"seq":)" + std::to_string(seq++) + R"(,"previous":")" + previous + body;
    previous = crypto::Sha256Hex(AsBytes(hashed));
    resigned += secagg::SealedLine(hashed, TranscriptKey());
  }
  return resigned;
}

Result<secagg::TranscriptSummary> Verify(const std::string& text) {
  std::istringstream stream(text);
  return secagg::VerifyTranscript(stream, {.signer = TranscriptKey().public_key(), .corrupt_fraction = 0});
}

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = ToBytes(AsBytes(PlayRound()));
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  const std::string text(reinterpret_cast<const char*>(data), size);
  // A beginning that ends with a whole record is one of a round that is not over.
  const bool genuine = AsText(fuzz::Seed()).starts_with(text) && text.ends_with('\n');
  if (fuzz::Verify(text).has_value() != genuine) std::abort();
  if (const auto resigned = fuzz::Verify(fuzz::Resigned(text)); resigned && resigned->survivors > resigned->sharers)
    std::abort();
  return 0;
}
