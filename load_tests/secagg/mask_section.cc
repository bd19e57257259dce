// The mask engine and the packing of elements: rates, and how they compare with the bare key stream and with OpenSSL.
#include <thread>

#include "base/random.h"
#include "load_tests/secagg/calibration.h"
#include "load_tests/secagg/section.h"
#include "secagg/mask/mask.h"
#include "secagg/packing.h"

namespace edgefleet::load_tests {
namespace {

using nlohmann::json;
using secagg::MaskCipher;
using secagg::MaskPath;
using secagg::MaskSet;
using secagg::MaskTerm;
using Words = std::vector<std::uint32_t>;

constexpr int kTurns = 60;
constexpr std::size_t kClientMasks = 101;

std::vector<MaskTerm> MakeTerms(std::size_t count) {
  SeededRandom random(41);
  std::vector<MaskTerm> terms;
  for (std::size_t i = 0; i < count; ++i) {
    terms.push_back({secagg::Secret::Random(random), i % 2 == 0 ? secagg::MaskSign::kAdd : secagg::MaskSign::kSubtract});
  }
  return terms;
}

double GigabytesPerSecond(std::size_t bytes, double seconds) { return static_cast<double>(bytes) / seconds / 1e9; }

std::size_t VectorWords(const BenchSize& size) { return size.small ? 20'000 : 1 << 20; }

// The fused pass over a whole vector, with its cache blocks, against the same kernel's bare key stream.
void AddFusedRows(const BenchSize& size, MaskCipher cipher, const std::string& suffix, json& rows) {
  if (!IsSupported(MaskPath::kVaes512)) return;
  const std::vector<MaskTerm> terms = MakeTerms(8);
  const MaskSet masks(terms, cipher, MaskPath::kVaes512);
  const auto key_stream = BareKeyStream(cipher);
  Words words(VectorWords(size));
  const std::size_t bytes = terms.size() * words.size() * sizeof(std::uint32_t);
  const std::vector<double> best = BestSeconds(size, kTurns, {[&] { key_stream(bytes); }, [&] { masks.Apply(0, words); }});
  const double stream_rate = GigabytesPerSecond(bytes, best[0]);
  const double fused_rate = GigabytesPerSecond(bytes, best[1]);
  rows.push_back(Row("vaes_key_stream_" + suffix, stream_rate, "GB/s"));
  rows.push_back(Row("vaes_fused_" + suffix, fused_rate, "GB/s"));
  rows.push_back(RowAtLeast(size, "vaes_fused_share_of_key_stream_" + suffix, fused_rate / stream_rate, "", 0.90));
}

// Masking without VAES against OpenSSL making as much key stream.
void AddOpenSslRows(const BenchSize& size, MaskCipher cipher, const std::string& suffix, json& rows) {
  const std::vector<MaskTerm> terms = MakeTerms(8);
  const MaskSet portable(terms, cipher, MaskPath::kPortable);
  const MaskSet aes_ni(terms, cipher, IsSupported(MaskPath::kAesNi) ? MaskPath::kAesNi : MaskPath::kPortable);
  const auto open_ssl = OpenSslKeyStream(cipher);
  Words words(VectorWords(size));
  const std::size_t bytes = terms.size() * words.size() * sizeof(std::uint32_t);
  const std::vector<double> best =
      BestSeconds(size, kTurns, {[&] { open_ssl(bytes); }, [&] { aes_ni.Apply(0, words); }, [&] { portable.Apply(0, words); }});
  rows.push_back(Row("openssl_key_stream_" + suffix, GigabytesPerSecond(bytes, best[0]), "GB/s"));
  rows.push_back(RowAtMost(size, "no_vaes_time_over_openssl_" + suffix, best[1] / best[0], "", 1.20));
  rows.push_back(Row("portable_time_over_openssl_" + suffix, best[2] / best[0], ""));
}

// A device's masks, on one core; and the server's, which shares the same pass between cores.
void AddManyMasksRows(const BenchSize& size, MaskCipher cipher, const std::string& suffix, json& rows) {
  const std::vector<MaskTerm> terms = MakeTerms(size.small ? 5 : kClientMasks);
  Words words(VectorWords(size));
  ThreadPool pool("bench", 1, 8);
  const std::vector<double> best = BestSeconds(
      size, kTurns, {[&] { MaskSet(terms, cipher).Apply(0, words); }, [&] { MaskSet(terms, cipher).Apply(words, &pool); }});
  rows.push_back(RowAtMost(size, "client_mask_101_x_1M_" + suffix, best[0] * 1e3, "ms", 32));
  if (std::thread::hardware_concurrency() < 2) return;
  rows.push_back(RowAtLeast(size, "unmask_two_cores_over_one_" + suffix, best[0] / best[1], "", 1.85));
}

void AddPackingRows(const BenchSize& size, std::uint32_t bits, json& rows) {
  Words words(VectorWords(size));
  SeededRandom random(42);
  random.Fill(std::as_writable_bytes(std::span(words)));
  std::vector<std::byte> packed(secagg::PackedSize(words.size(), bits));
  const std::vector<double> best =
      BestSeconds(size, kTurns,
                  {[&] { secagg::Pack(words, bits, packed); }, [&] { secagg::Unpack(packed, bits, words); },
                   [&] { secagg::UnpackAdd(packed, bits, words); }});
  const std::size_t bytes = words.size() * sizeof(std::uint32_t);
  const std::string suffix = "_" + std::to_string(bits) + "_bits_of_words";
  rows.push_back(Row("pack" + suffix, GigabytesPerSecond(bytes, best[0]), "GB/s"));
  rows.push_back(Row("unpack" + suffix, GigabytesPerSecond(bytes, best[1]), "GB/s"));
  rows.push_back(Row("unpack_add" + suffix, GigabytesPerSecond(bytes, best[2]), "GB/s"));
}

}  // namespace

json MaskSection(const BenchSize& size) {
  json rows = json::array();
  for (const auto& [cipher, suffix] :
       {std::pair{MaskCipher::kAes256Ctr, "aes256"}, std::pair{MaskCipher::kAes128Ctr, "aes128"}}) {
    AddFusedRows(size, cipher, suffix, rows);
    AddOpenSslRows(size, cipher, suffix, rows);
    AddManyMasksRows(size, cipher, suffix, rows);
  }
  for (const std::uint32_t bits : {16, 21, 27}) AddPackingRows(size, bits, rows);
  return rows;
}

}  // namespace edgefleet::load_tests
