// A device's side of one secure aggregation (see secagg/messages.h for the protocol).
//
//   Client client(round_id, random);
//   KeyAdvert advert = client.AdvertiseKeys();            // phase SELECTING
//   sealed = client.ShareKeys(setup);                     // phase TRAINING
//   client.Mask(inbox, words);                            // phase COLLECTING: words are now safe to upload
//   answer = client.Unmask(survivors);                    // phase UNMASKING
//
// No I/O, no clock. Not thread-safe. Secrets live only in this object and are wiped with it; a device that loses it has dropped
// out. A refused message changes nothing. A message that the present state does not expect is FAILED_PRECONDITION
// [WRONG_PHASE].
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "secagg/messages.h"

namespace edgefleet::secagg {

class ClientState;

class Client {
 public:
  // `random` must be cryptographically secure (crypto::SecureRandom) and outlive the client. Every key is bound to `round_id`
  // (1 to kRoundIdSizeMax bytes, otherwise AdvertiseKeys refuses with INVALID_ARGUMENT [BAD_ROUND_ID]).
  Client(std::string round_id, RandomSource& random);
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  // Makes this round's keys. Again: the same advert.
  Result<KeyAdvert> AdvertiseKeys();

  // Splits both secrets among the roster; one message for each other member. INVALID_ARGUMENT [BAD_ROSTER] for gaps, repeated
  // or malformed keys, low-order points, or a roster that does not hold this device's own keys at its index; [UNSAFE_THRESHOLD]
  // unless n/2 < threshold <= n and threshold >= 2.
  Result<std::vector<SealedShares>> ShareKeys(const RoundSetup& setup);

  // Opens what the others sent and masks `update` (vector_length words) in place with this device's self mask and one pairwise
  // mask for each sender of the inbox. INVALID_ARGUMENT [BAD_INBOX] (foreign, repeated, misdirected), [BAD_SEALED_SHARES] (does
  // not open: altered, swapped, of another round), [BAD_UPDATE] (length); FAILED_PRECONDITION [BELOW_THRESHOLD] when fewer than
  // threshold members, this one included, have shared. On an error `update` is untouched.
  Status Mask(std::span<const SealedShares> inbox, std::span<std::uint32_t> update);

  // One share for every member that shared: of the self-mask seed for survivors, of the mask key for the others, never both.
  // The same survivors again give the same answer; others are FAILED_PRECONDITION [CONTRADICTING_UNMASK]. INVALID_ARGUMENT
  // [BAD_SURVIVORS] (unknown, repeated), FAILED_PRECONDITION [BELOW_THRESHOLD], [NOT_A_SURVIVOR] (this device is not listed).
  Result<UnmaskAnswer> Unmask(std::span<const std::uint32_t> survivors);

  // "start", "advertised", "shared", "masked", "answered".
  std::string_view state() const;

 private:
  std::unique_ptr<ClientState> state_;
};

}  // namespace edgefleet::secagg
