// Rounds of the in-memory fleet with a transcript.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "secagg/transcript/transcript.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::secagg::testing {

const crypto::Ed25519SecretKey& TranscriptKey();

// Six members, t = 4. Where member 2 drops out, all survivors are in the committee.
FleetOptions Small(Adversary adversary);

// Plays the round and writes each record after the closing that it tells of; ends it as failed with the reason of a closing
// that fails.
Status PlayWithTranscript(Fleet& fleet, TranscriptWriter& transcript, const Dropouts& dropouts = {});

// Lines without their ends.
std::vector<std::string> LinesOf(const std::string& text);
std::string TextOf(const std::vector<std::string>& lines);

// What a dishonest aggregator would sign: the records as `change` leaves them, chained anew.
using Records = std::vector<nlohmann::ordered_json>;
std::string Resealed(const std::string& text, const std::function<void(Records&)>& change,
                     const crypto::Ed25519SecretKey& key = TranscriptKey());

}  // namespace edgefleet::secagg::testing
