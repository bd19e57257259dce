// Recovery of a shared secret although some shares are wrong, and who sent them. Shares are a Reed-Solomon codeword with
// erasures (McEliece and Sarwate 1981, "On sharing secrets and Reed-Solomon codes"), so of m shares floor((m - threshold) / 2)
// may be wrong. Errors are located in a random combination of the lanes: syndromes, Massey's algorithm (1969, "Shift-register
// synthesis and BCH decoding") and a search of the slots.
//
// All field arithmetic on shares runs in constant time. Its branches depend on the syndromes, hence on the errors alone: right
// shares, and so the secret, do not enter them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"
#include "secagg/keys.h"

namespace edgefleet::secagg {

struct DecodedSecret {
  Secret secret;
  std::vector<std::uint32_t> bad_slots;  // ascending: whose shares are wrong, if they are few enough to tell
};

// shares[k], from slots[k] (distinct, 1 to 65535), of a secret that SplitSecret shared with `threshold`. `is_right` decides
// whether a candidate is the secret (its public key or commitment fits) and is asked at most 73 times.
//
// Up to floor((m - threshold) / 2) wrong shares end with the secret and exactly the slots of the wrong ones, but for a chance
// below 2^-40 and for what the last paragraph says. When there are more, 64 random sets of `threshold` shares are tried, any of
// which may have been spared: few shares with few errors are recovered so. DATA_LOSS [SHARES_BEYOND_REPAIR] when nothing fits,
// or with fewer shares than the threshold.
//
// A secret that such a set gives names no slots: wrong shares whose errors cancel in that set give the right secret too, and
// then the shares that it contradicts are the right ones. And a decoding is right about slots only while no more shares are
// wrong than it corrects: m - threshold + 1 wrong ones can make one right share look like the wrong one.
//
// Without errors it costs one recovery and, with more shares than the threshold, two more weighted sums that check them all:
// wrong shares whose errors cancel in the secret, which takes knowing all slots that answer, remain unnamed with a probability
// of ((m - threshold) / 65535)^2. With errors it costs O(m^2). `m` at most kMembersMax.
Result<DecodedSecret> RecoverSecret(std::span<const std::uint32_t> slots, std::span<const Secret* const> shares,
                                    std::uint32_t threshold, const std::function<bool(const Secret&)>& is_right);

}  // namespace edgefleet::secagg
