#include <charconv>
#include <cmath>
#include <string>

#include "aggregator/privacy/accounting/rdp.h"

namespace edgefleet::privacy {
namespace {

void AddRange(std::vector<double>& orders, int first, int last) {
  for (int order = first; order <= last; ++order) orders.push_back(order);
}

std::vector<double> TenthsAnd(int first, int last) {
  std::vector<double> orders;
  for (int tenth = 1; tenth < 100; ++tenth) orders.push_back(1 + tenth / 10.0);
  AddRange(orders, first, last);
  return orders;
}

std::vector<double> TensorflowOrders() {
  std::vector<double> orders = {1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 4.5};
  AddRange(orders, 5, 63);
  orders.insert(orders.end(), {128, 256, 512});
  return orders;
}

std::vector<double> DpAccountingOrders() {
  std::vector<double> orders = TenthsAnd(11, 63);
  orders.insert(orders.end(), {128, 256, 512, 1024});
  return orders;
}

bool ParseNumber(std::string_view text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value > 1 && value <= kOrderMax;
}

// "2.5" or "2..32".
bool ParsePart(std::string_view part, std::vector<double>& orders) {
  double first = 0;
  double last = 0;
  const std::size_t dots = part.find("..");
  if (dots == std::string_view::npos) {
    if (!ParseNumber(part, first)) return false;
    orders.push_back(first);
    return true;
  }
  if (!ParseNumber(part.substr(0, dots), first) || !ParseNumber(part.substr(dots + 2), last)) return false;
  if (first != std::floor(first) || last != std::floor(last) || last < first) return false;
  AddRange(orders, static_cast<int>(first), static_cast<int>(last));
  return true;
}

}  // namespace

Result<std::vector<double>> ParseOrders(std::string_view text) {
  std::vector<double> orders;
  if (text == "opacus") return TenthsAnd(12, 63);
  if (text == "tf") return TensorflowOrders();
  if (text == "dpa") return DpAccountingOrders();
  if (text == "integer") {
    AddRange(orders, 2, 128);
    orders.push_back(256);
    return orders;
  }
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    if (!ParsePart(text.substr(begin, comma - begin), orders)) {
      return InvalidArgument("BAD_ORDERS", "'" + std::string(text) +
                                               "' are no orders: name opacus, tf, dpa or integer, or list " +
                                               "numbers above 1 and up to 4096, as 2..32,64,2.5");
    }
    begin = comma + 1;
  }
  return orders;
}

}  // namespace edgefleet::privacy
