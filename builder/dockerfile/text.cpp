// SPDX-License-Identifier: Apache-2.0
// Text helpers, and the guess what a misspelt word was meant to be: the smallest edit distance, if it is
// small.
#include "dockerfile/text.hpp"

#include <algorithm>
#include <numeric>

namespace dray::builder {

std::string_view trim_left(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}

std::string_view trim(std::string_view text) {
  text = trim_left(text);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

std::string to_upper(std::string_view text) {
  std::string upper(text);
  for (char& c : upper)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return upper;
}

std::vector<std::string> split_whitespace(std::string_view text, std::size_t limit) {
  const auto separates = [](char c) { return is_space(c) && c != '\n'; };
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size() && parts.size() + 1 != limit;) {
    if (!separates(text[at])) {
      ++at;
      continue;
    }
    parts.emplace_back(text.substr(begin, at - begin));
    while (at < text.size() && separates(text[at])) ++at;
    begin = at;
  }
  parts.emplace_back(text.substr(begin));
  return parts;
}

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0u);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view typed, const std::vector<std::string>& options) {
  if (typed.empty() || typed.size() > 40) return "";
  const std::string wanted = to_lower(typed);
  std::string best;
  std::size_t best_distance = 3;
  for (const std::string& option : options) {
    const std::string candidate = to_lower(option);
    if (candidate == wanted) return "";  // the name is right, something else is wrong
    if (candidate.size() > wanted.size() + 2 || wanted.size() > candidate.size() + 2) continue;
    const std::size_t distance = edit_distance(wanted, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = option;
    }
  }
  const bool upper = best == to_upper(best);
  return upper && wanted == typed ? to_lower(best) : best;
}

std::string did_you_mean(std::string_view typed, const std::vector<std::string>& options) {
  const std::string guess = nearest(typed, options);
  return guess.empty() ? "" : " (did you mean " + guess + "?)";
}

}  // namespace dray::builder
