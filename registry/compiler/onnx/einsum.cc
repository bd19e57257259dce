// Einsum as transpositions, sums and matrix products.
#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::BinaryKind;
using runtime::ReduceKind;

using Labels = std::vector<int>;  // a letter, or kEllipsis + the dimension's place from the right

constexpr int kEllipsis = 1'000;

struct Term {
  Labels labels;
  TensorId id = runtime::kAbsent;
};

bool Has(const Labels& labels, int label) { return std::ranges::count(labels, label) != 0; }

// Labels of one operand; `ellipsis` is how many dimensions "..." stands for.
Result<Labels> ReadLabels(const NodeContext& node, std::string_view text, std::int64_t ellipsis) {
  Labels labels;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 3) == "...") {
      for (std::int64_t k = ellipsis; k > 0; --k) labels.push_back(kEllipsis + static_cast<int>(k));
      i += 2;
    } else if ((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z')) {
      labels.push_back(text[i]);
    } else {
      return node.Bad("its equation has an unknown character");
    }
  }
  return labels;
}

class Equation {
 public:
  explicit Equation(NodeContext& node) : node_(node) {}

  Status Import() {
    EF_RETURN_IF_ERROR(Read());
    for (Term& term : terms_) EF_RETURN_IF_ERROR(TakeDiagonals(term));
    while (terms_.size() > 1) {
      EF_RETURN_IF_ERROR(SumAlone(terms_[0], 0));
      EF_RETURN_IF_ERROR(SumAlone(terms_[1], 1));
      EF_ASSIGN_OR_RETURN(Term product, Multiply(terms_[0], terms_[1]));
      terms_.erase(terms_.begin());
      terms_[0] = std::move(product);
    }
    EF_RETURN_IF_ERROR(SumAlone(terms_[0], 0));
    if (terms_[0].labels.size() != output_.size()) return node_.Bad("its equation's output has labels that no input has");
    EF_ASSIGN_OR_RETURN(const TensorId y, Permute(terms_[0], output_));
    return node_.Bind(0, y);
  }

 private:
  Status Read() {
    EF_ASSIGN_OR_RETURN(std::string text, node_.String("equation", ""));
    std::erase(text, ' ');
    const std::size_t arrow = text.find("->");
    std::string_view left = std::string_view(text).substr(0, std::min(arrow, text.size()));
    std::int64_t ellipsis = 0;
    EF_ASSIGN_OR_RETURN(const auto inputs, node_.Inputs());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const std::size_t comma = std::min(left.find(','), left.size());
      const std::string_view word = left.substr(0, comma);
      if ((i + 1 == inputs.size()) != (comma == left.size())) return node_.Bad("its equation does not fit its inputs");
      left.remove_prefix(std::min(comma + 1, left.size()));
      const bool dots = word.find("...") != std::string_view::npos;
      const std::int64_t own = dots ? node_.Rank(inputs[i]) - static_cast<std::int64_t>(word.size()) + 3 : 0;
      EF_ASSIGN_OR_RETURN(Labels labels, ReadLabels(node_, word, own));
      if (!std::cmp_equal(labels.size(), node_.Rank(inputs[i]))) return node_.Bad("its equation does not fit its inputs");
      ellipsis = std::max(ellipsis, own);
      terms_.push_back({std::move(labels), inputs[i]});
    }
    if (arrow != std::string::npos) {
      EF_ASSIGN_OR_RETURN(output_, ReadLabels(node_, std::string_view(text).substr(arrow + 2), ellipsis));
      return OkStatus();
    }
    std::map<int, int> counts;
    for (const Term& term : terms_) {
      for (const int label : term.labels) ++counts[label];
    }
    for (int k = static_cast<int>(ellipsis); k > 0; --k) output_.push_back(kEllipsis + k);
    for (const auto& [label, count] : counts) {
      if (count == 1 && label < kEllipsis) output_.push_back(label);
    }
    return OkStatus();
  }

  // A label that is there twice: what is off the diagonal becomes 0, then one of the two is summed.
  Status TakeDiagonals(Term& term) {
    for (std::size_t i = 0; i < term.labels.size(); ++i) {
      for (std::size_t j = term.labels.size() - 1; j > i; --j) {
        if (term.labels[j] != term.labels[i]) continue;
        const Shape shape = node_.ShapeOf(term.id);
        const std::int64_t n = shape[i];
        if (shape[j] != n || n > 4'096) return node_.Unsupported("its diagonal is not square, or too large");
        std::vector<float> eye(static_cast<std::size_t>(n * n), 0.0F);
        for (std::int64_t k = 0; k < n; ++k) eye[static_cast<std::size_t>(k * n + k)] = 1;
        Shape wide(shape.size(), 1);
        wide[i] = wide[j] = n;
        EF_ASSIGN_OR_RETURN(const TensorId mask, node_.FloatList(eye, std::move(wide)));
        EF_ASSIGN_OR_RETURN(const TensorId kept, node_.Binary(BinaryKind::kMul, term.id, mask));
        EF_ASSIGN_OR_RETURN(term.id, node_.Reduce(ReduceKind::kSum, kept, {static_cast<std::int64_t>(j)}, false));
        term.labels.erase(term.labels.begin() + static_cast<std::ptrdiff_t>(j));
      }
    }
    return OkStatus();
  }

  bool NeededBeyond(int label, std::size_t first, std::size_t second) const {
    if (Has(output_, label)) return true;
    for (std::size_t i = 0; i < terms_.size(); ++i) {
      if (i != first && i != second && Has(terms_[i].labels, label)) return true;
    }
    return false;
  }

  // Sums over labels that nothing else has.
  Status SumAlone(Term& term, std::size_t index) {
    std::vector<std::int64_t> axes;
    Labels kept;
    for (std::size_t i = 0; i < term.labels.size(); ++i) {
      if (NeededBeyond(term.labels[i], index, index)) {
        kept.push_back(term.labels[i]);
      } else {
        axes.push_back(static_cast<std::int64_t>(i));
      }
    }
    if (axes.empty()) return OkStatus();
    EF_ASSIGN_OR_RETURN(term.id, node_.Reduce(ReduceKind::kSum, term.id, axes, false));
    term.labels = std::move(kept);
    return OkStatus();
  }

  // The term with its labels in the order of `wanted`, which has them all; labels that it does not have become dimensions of 1.
  Result<TensorId> Permute(const Term& term, const Labels& wanted) {
    std::vector<std::int64_t> order;
    std::vector<std::int64_t> missing;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto found = std::ranges::find(term.labels, wanted[i]);
      if (found == term.labels.end()) {
        missing.push_back(static_cast<std::int64_t>(i));
      } else {
        order.push_back(found - term.labels.begin());
      }
    }
    if (order.size() != term.labels.size()) return node_.Bad("its equation's output misses labels");
    EF_ASSIGN_OR_RETURN(const TensorId x, node_.Transpose(term.id, std::move(order)));
    return missing.empty() ? Result<TensorId>(x) : node_.Unsqueeze(x, std::move(missing));
  }

  std::int64_t SizeOf(const Term& a, const Term& b, int label) const {
    const Term& term = Has(a.labels, label) ? a : b;
    const auto axis = std::ranges::find(term.labels, label) - term.labels.begin();
    return node_.ShapeOf(term.id)[static_cast<std::size_t>(axis)];
  }

  // [batch..., left..., right...] as [batch..., product of left, product of right].
  Result<TensorId> Merge(TensorId x, std::size_t batch, std::size_t left, std::size_t right) {
    if (left == 1 && right == 1) return x;
    const Shape shape = node_.ShapeOf(x);
    std::vector<std::int64_t> target(batch, 0);
    for (const auto& [from, count] : {std::pair(batch, left), std::pair(batch + left, right)}) {
      std::int64_t product = 1;
      for (std::size_t i = from; i < from + count; ++i) product *= shape[i];
      target.push_back(product);
    }
    return node_.Reshape(x, target);
  }

  Result<Term> Multiply(const Term& a, const Term& b) {
    Labels batch;
    Labels summed;
    Labels left;
    Labels right;
    for (const int label : a.labels) {
      (!Has(b.labels, label) ? left : NeededBeyond(label, 0, 1) ? batch : summed).push_back(label);
    }
    for (const int label : b.labels) {
      if (!Has(a.labels, label)) right.push_back(label);
    }
    Term result{batch, runtime::kAbsent};
    result.labels.insert(result.labels.end(), left.begin(), left.end());
    result.labels.insert(result.labels.end(), right.begin(), right.end());
    if (summed.empty()) {
      EF_ASSIGN_OR_RETURN(const TensorId x, Permute(a, result.labels));
      EF_ASSIGN_OR_RETURN(const TensorId y, Permute(b, result.labels));
      EF_ASSIGN_OR_RETURN(result.id, node_.Binary(BinaryKind::kMul, x, y));
      return result;
    }
    const auto joined = [](const Labels& first, const Labels& second, const Labels& third) {
      Labels all = first;
      all.insert(all.end(), second.begin(), second.end());
      all.insert(all.end(), third.begin(), third.end());
      return all;
    };
    EF_ASSIGN_OR_RETURN(TensorId x, Permute(a, joined(batch, left, summed)));
    EF_ASSIGN_OR_RETURN(TensorId y, Permute(b, joined(batch, summed, right)));
    // Without batch dimensions the left ones may stay apart: they are the batch of the matrix product.
    const bool apart = batch.empty() && !left.empty();
    EF_ASSIGN_OR_RETURN(x, Merge(x, apart ? left.size() - 1 : batch.size(), apart ? 1 : left.size(), summed.size()));
    EF_ASSIGN_OR_RETURN(y, Merge(y, batch.size(), summed.size(), right.size()));
    EF_ASSIGN_OR_RETURN(result.id, EmitMatMul(node_, x, y));
    if ((apart || left.size() == 1) && right.size() == 1) return result;
    std::vector<std::int64_t> target(batch.size() + (apart ? left.size() : 0), 0);
    if (!apart) {
      for (const int label : left) target.push_back(SizeOf(a, b, label));
    }
    for (const int label : right) target.push_back(SizeOf(a, b, label));
    EF_ASSIGN_OR_RETURN(result.id, node_.Reshape(result.id, target));
    return result;
  }

  NodeContext& node_;
  std::vector<Term> terms_;
  Labels output_;
};

Status ImportEinsum(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(node.input_count(), 8));
  if (node.input_count() == 0) return node.Bad("it has no inputs");
  return Equation(node).Import();
}

constexpr std::array kOperators{OnnxOperator{"Einsum", ImportEinsum, "sizes within '...' must be equal, not broadcast", 12}};

}  // namespace

std::span<const OnnxOperator> EinsumOperators() { return kOperators; }

}  // namespace edgefleet::compiler
