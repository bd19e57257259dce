// x86-64 with AES instructions: key schedules, and the kernel that the processor has.
#include <cpuid.h>

#include <cstdlib>
#include <vector>

#include "secagg/mask/engine.h"
#include "secagg/mask/kernel.h"

namespace edgefleet::secagg {
namespace {

bool HasVaes() {  // __builtin_cpu_supports knows it only in some compilers; what it says of AVX-512 covers the operating system
  constexpr unsigned kVaesBit = 1U << 9;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __builtin_cpu_supports("avx512f") && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ecx & kVaesBit) != 0;
}

class X86Engine final : public MaskEngine {
 public:
  X86Engine(std::span<const MaskTerm> terms, MaskCipher cipher, MaskKernel kernel)
      : key_size_(cipher == MaskCipher::kAes256Ctr ? AesKeySize::k256 : AesKeySize::k128),
        kernel_(kernel),
        terms_(terms.size()) {
    for (std::size_t i = 0; i < terms.size(); ++i) {
      ExpandKeyAesNi(reinterpret_cast<const std::uint8_t*>(terms[i].key.bytes().data()), key_size_, &terms_[i].schedule);
      terms_[i].op = terms[i].sign == MaskSign::kAdd ? WordOp::kAdd : WordOp::kSubtract;
    }
  }
  ~X86Engine() override { Wipe(std::as_writable_bytes(std::span(terms_))); }

  void Apply(std::uint64_t block, std::span<std::uint32_t> words) const override {
    KernelScratch scratch;
    for (const Term& term : terms_) kernel_(term.schedule, key_size_, term.op, block, words.data(), words.size(), &scratch);
    Wipe(std::as_writable_bytes(std::span(&scratch, 1)));
  }

 private:
  struct Term {
    AesSchedule schedule;
    WordOp op;
  };

  const AesKeySize key_size_;
  const MaskKernel kernel_;
  std::vector<Term> terms_;
};

}  // namespace

bool HasX86Path(MaskPath path) {
  static const bool has_aes_ni = __builtin_cpu_supports("aes");
  static const bool has_vaes512 = has_aes_ni && HasVaes();
  return path == MaskPath::kAesNi ? has_aes_ni : path == MaskPath::kVaes512 && has_vaes512;
}

std::unique_ptr<const MaskEngine> MakeX86Engine(std::span<const MaskTerm> terms, MaskCipher cipher, MaskPath path) {
  return std::make_unique<X86Engine>(terms, cipher, path == MaskPath::kVaes512 ? MaskVaes512 : MaskAesNi);
}

}  // namespace edgefleet::secagg
