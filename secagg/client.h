// A device's side of one secure aggregation (messages: secagg/messages.h; protocol: docs/specs/secagg.md).
//
//   Client client(options, guard, random);
//   KeyAdvert advert = client.AdvertiseKeys();
//   SharedKeys shared = client.ShareKeys(setup);
//   UploadProof proof = client.Mask(inbox, words);   // words are now safe to upload, with the proof
//   Confirmation confirmation = client.Confirm(survivors);   // active variant, members of the committee only
//   UnmaskAnswer answer = client.Unmask(request);
//
// No I/O but the guard's, no clock. Not thread-safe. Secrets live only in this object and are wiped with it; a device that
// loses it has dropped out, and the guard keeps it from coming back under other keys. A refused message changes nothing. A
// message that the present state does not expect is FAILED_PRECONDITION [WRONG_PHASE].
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/random.h"
#include "base/status.h"
#include "secagg/guard.h"
#include "secagg/identity.h"
#include "secagg/messages.h"

namespace edgefleet::secagg {

class ClientState;

// What a device insists on, whatever the server offers.
struct ClientPolicy {
  Adversary adversary = Adversary::kSemiHonest;       // kActive: refuses semi-honest rounds
  double corrupt_fraction = 0.1;                      // of the members that may collude with the server
  std::uint32_t members_min = 3;                      // smallest roster
  std::uint32_t survivors_min = 2;                    // smallest sum
  std::vector<crypto::Ed25519PublicKey> authorities;  // whose enrolment it trusts; needed in active rounds
};

struct ClientOptions {
  std::string round_id;                          // 1 to kRoundIdSizeMax bytes
  Adversary adversary = Adversary::kSemiHonest;  // of the round, as its plan says
  ClientPolicy policy;
  std::optional<DeviceIdentity> identity;  // needed in active rounds
};

class Client {
 public:
  // `guard` and `random` (cryptographically secure outside of tests) outlive the client.
  Client(ClientOptions options, OneShotGuard& guard, RandomSource& random);
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  // Makes this round's keys. Again: the same advert. INVALID_ARGUMENT [BAD_ROUND_ID]; FAILED_PRECONDITION [NO_IDENTITY] (active
  // round, but no identity or no authority), [POLICY_REFUSES] (semi-honest round, but the policy demands the active variant),
  // [ALREADY_SAID] (this device has advertised other keys in this round, before a restart).
  Result<KeyAdvert> AdvertiseKeys();

  // Checks the setup, splits both secrets among the neighbours and seals the shares. INVALID_ARGUMENT [BAD_SETUP] (out of
  // range, not this device's round or keys, a roster digest without this device's keys), [BAD_ROSTER] (a neighbour's keys are
  // malformed, repeated, of low order or not the device's own; wrong number), [BAD_SIGNATURE] (an advert is not signed by an
  // enrolled identity, an identity of the committee is not enrolled, or one appears twice); FAILED_PRECONDITION
  // [POLICY_REFUSES] (roster or sum too small), [UNSAFE_PARAMETERS] (CheckPrivacy with the policy's corrupt fraction and all
  // the dropouts that survivors_min allows).
  Result<SharedKeys> ShareKeys(const RoundSetup& setup);

  // Opens what the neighbours sent and masks `update` (vector_length words below 2^element_bits) in place with this device's
  // self mask and one pairwise mask for each sender; the result is again below 2^element_bits. Sealed shares that do not open
  // are left out and complained about in the answer. The proof says whom the update is masked for; it goes with the upload, and
  // without it no neighbour reveals a share of this device's seed. INVALID_ARGUMENT [BAD_INBOX] (sizes; sharers without this
  // device, fewer than survivors_min, or not those among the neighbours that senders names), [BAD_UPDATE] (length or range);
  // FAILED_PRECONDITION [BELOW_THRESHOLD] when fewer than t neighbours have shared or fewer than t shares opened. On an error
  // `update` is untouched.
  Result<UploadProof> Mask(const Inbox& inbox, std::span<std::uint32_t> update);

  // Active variant: a member of the committee signs sharers and survivors, once; the same again gives the same signature.
  // INVALID_ARGUMENT [BAD_SURVIVORS] (bitmap's size, one that is no sharer); FAILED_PRECONDITION [NOT_IN_COMMITTEE],
  // [NOT_A_SURVIVOR] (this device is not among them), [TOO_FEW_SURVIVORS] (fewer than survivors_min, or fewer than t among the
  // neighbours), [DISCONNECTED] (CheckConnected), [ALREADY_SAID] (other survivors before).
  Result<Confirmation> Confirm(ByteView survivors);

  // One share for every neighbour whose shares it holds: of the self-mask seed for survivors, of the mask key for the others,
  // never both. The same survivors again give the same answer. Errors of Confirm but NOT_IN_COMMITTEE; in the active variant
  // also FAILED_PRECONDITION [UNCONFIRMED] with fewer than t valid signatures of the committee, or unless each surviving
  // neighbour has masked for the same sharers as this device, under the keys that this device was told.
  Result<UnmaskAnswer> Unmask(const UnmaskRequest& request);

  // "start", "advertised", "shared", "masked", "confirmed", "answered".
  std::string_view state() const;

 private:
  std::unique_ptr<ClientState> state_;
};

}  // namespace edgefleet::secagg
