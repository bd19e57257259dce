// A value known up to a small interval.
#pragma once

namespace edgefleet::privacy {

// lower <= truth <= upper. What is charged and promised is always `upper`.
struct Bracket {
  double lower = 0;
  double upper = 0;
};

}  // namespace edgefleet::privacy
