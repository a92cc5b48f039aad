// SPDX-License-Identifier: Apache-2.0
// Functions of regular expressions.
#include "functions.hpp"
#include "pattern.hpp"

namespace dray::cli::hcl {
namespace {

constexpr std::size_t kMaxText = 1u << 20;

/// A text, a list where there are groups, an object where these have names.
Result<Value> value_of(const Pattern& pattern, const Pattern::Match& match, const std::string& text, Budget& budget) {
  std::size_t size = 0;
  for (const Pattern::Span& span : match.groups) size += 1 + (span.matched() ? span.end - span.begin : 0);
  for (const auto& [name, number] : pattern.names()) size += name.size();
  TRY(budget.make(size));
  const auto part = [&](const Pattern::Span& span) {
    return span.matched() ? Value(text.substr(span.begin, span.end - span.begin)) : Value();
  };
  if (pattern.groups() == 0) return part(match.groups[0]);
  if (!pattern.names().empty()) {
    if (pattern.names().size() != pattern.groups()) return wrong("either all groups have names or none has");
    Object named;
    for (const auto& [name, number] : pattern.names()) named[name] = part(match.groups[number]);
    return Value(std::move(named));
  }
  List parts;
  for (std::size_t i = 1; i < match.groups.size(); ++i) parts.push_back(part(match.groups[i]));
  return Value(std::move(parts));
}

struct Search {
  Pattern pattern;
  std::string text;
  std::vector<Pattern::Match> matches;
};

/// At most `limit` matches that don't overlap.
Result<Search> search(const Value& pattern, const Value& text, std::size_t limit, Budget& budget) {
  Search search{TRY(Pattern::compile(TRY(to_text(pattern)))), TRY(to_text(text)), {}};
  if (search.text.size() > kMaxText) return wrong("the text is longer than 1 MiB");
  std::size_t at = 0, last_end = std::string::npos;
  while (at <= search.text.size() && search.matches.size() < limit) {
    auto match = TRY(search.pattern.search(search.text, at, budget));
    if (!match) break;
    const auto [begin, end] = match->groups[0];
    if (search.matches.size() > 20'000) return wrong("there are too many matches");
    at = end;
    if (begin == end) {  // go on after the next character
      ++at;
      while (at < search.text.size() && (search.text[at] & 0xC0) == 0x80) ++at;
      if (begin == last_end) continue;
    }
    last_end = end;
    TRY(budget.make(match->groups.size()));
    search.matches.push_back(*std::move(match));
  }
  return search;
}

Result<Value> regex(Arguments a) {
  const Search found = TRY(search(a[0], a[1], 1, a.budget));
  if (found.matches.empty()) return wrong("the regular expression does not match");
  return value_of(found.pattern, found.matches[0], found.text, a.budget);
}

Result<Value> regexall(Arguments a) {
  const Search found = TRY(search(a[0], a[1], std::string::npos, a.budget));
  List all;
  for (const Pattern::Match& match : found.matches)
    all.push_back(TRY(value_of(found.pattern, match, found.text, a.budget)));
  return Value(std::move(all));
}

/// "$1", "${name}", "$$"; a name is as long as it can be.
Result<void> append_replacement(const Search& found, const Pattern::Match& match, const std::string& replacement,
                                std::string& result) {
  for (std::size_t at = 0; at < replacement.size();) {
    if (result.size() > kMaxText) return wrong("the result is too long");
    if (replacement[at] != '$') {
      result.push_back(replacement[at++]);
      continue;
    }
    ++at;
    if (at < replacement.size() && replacement[at] == '$') {
      result.push_back(replacement[at++]);
      continue;
    }
    const bool braces = at < replacement.size() && replacement[at] == '{';
    const std::size_t begin = at + (braces ? 1 : 0);
    std::size_t end = begin;
    while (end < replacement.size() &&
           (std::isalnum(static_cast<unsigned char>(replacement[end])) != 0 || replacement[end] == '_'))
      ++end;
    if (end == begin || (braces && (end == replacement.size() || replacement[end] != '}'))) {
      result.push_back('$');
      continue;
    }
    const std::string name = replacement.substr(begin, end - begin);
    at = end + (braces ? 1 : 0);
    const auto named = found.pattern.names().find(name);
    std::size_t number = named != found.pattern.names().end() ? named->second : match.groups.size();
    if (name.find_first_not_of("0123456789") == std::string::npos && name.size() < 4)
      number = static_cast<std::size_t>(*parse_number(name));
    if (number < match.groups.size() && match.groups[number].matched())
      result += found.text.substr(match.groups[number].begin, match.groups[number].end - match.groups[number].begin);
  }
  return {};
}

Result<Value> regex_replace(Arguments a) {
  const Search found = TRY(search(a[1], a[0], std::string::npos, a.budget));
  const std::string replacement = TRY(to_text(a[2]));
  std::string result;
  std::size_t at = 0;
  for (const Pattern::Match& match : found.matches) {
    result += found.text.substr(at, match.groups[0].begin - at);
    TRY(a.budget.work(replacement.size()));
    TRY(append_replacement(found, match, replacement, result));
    at = match.groups[0].end;
  }
  return Value(result + found.text.substr(at));
}

}  // namespace

const std::vector<Function>& pattern_functions() {
  static const std::vector<Function> functions = {
      {"regex", 2, 2, regex}, {"regexall", 2, 2, regexall}, {"regex_replace", 3, 3, regex_replace}};
  return functions;
}

}  // namespace dray::cli::hcl
