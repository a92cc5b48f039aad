// SPDX-License-Identifier: Apache-2.0
// Flags of instructions, and durations as Go writes them. Unknown and repeated flags are errors: a flag that
// would be ignored silently gives an image nobody asked for.
#include "dockerfile/flags.hpp"

#include <charconv>

#include "dockerfile/text.hpp"

namespace dray::builder {

namespace {
Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }
}  // namespace

Result<void> Flags::parse(const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (word == "--") return {};
    const std::size_t equals = word.find('=');
    const bool has_value = equals != std::string::npos;
    const std::string flag = word.substr(0, equals);
    std::string value = has_value ? word.substr(equals + 1) : "";
    if (!flag.starts_with("--")) return invalid("arg should start with -- : " + flag);
    const std::string name = flag.substr(2);
    const auto known = known_.find(name);
    if (known == known_.end()) {
      std::vector<std::string> names;
      for (const auto& [option, kind] : known_) names.push_back(option);
      return invalid("unknown flag: " + flag + did_you_mean(name, names));
    }
    if (known->second != Kind::list && used_.contains(name)) return invalid("duplicate flag specified: " + flag);
    if (known->second == Kind::boolean) {
      const std::string lower = to_lower(value);
      if (has_value && value.empty()) return invalid("missing a value on flag: " + flag);
      if (!lower.empty() && lower != "true" && lower != "false")
        return invalid("expecting boolean value for flag " + flag + ", not: " + value);
      value = lower == "false" ? "false" : "true";
    } else if (!has_value) {
      return invalid("missing a value on flag: " + flag);
    }
    used_[name].push_back(std::move(value));
  }
  return {};
}

std::string Flags::value(const std::string& name) const {
  const auto found = used_.find(name);
  return found == used_.end() ? "" : found->second.front();
}

std::vector<std::string> Flags::values(const std::string& name) const {
  const auto found = used_.find(name);
  return found == used_.end() ? std::vector<std::string>() : found->second;
}

bool Flags::is_true(const std::string& name) const {
  const auto found = used_.find(name);
  return found != used_.end() && found->second.front() == "true";
}

Result<long long> parse_duration(std::string_view text) {
  const auto bad = [text] {
    return invalid("invalid duration \"" + std::string(text) + "\" (write it like 30s or 1m30s)");
  };
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest == "0") return 0;
  if (rest.empty()) return bad();
  double total = 0;
  while (!rest.empty()) {
    double number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number, std::chars_format::fixed);
    if (error != std::errc() || !(is_digit(rest.front()) || rest.front() == '.')) return bad();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    static constexpr std::pair<std::string_view, double> kUnits[] = {{"ns", 1},        {"us", 1e3},  {"\u00b5s", 1e3},
                                                                     {"\u03bcs", 1e3}, {"ms", 1e6},  {"s", 1e9},
                                                                     {"m", 60e9},      {"h", 3600e9}};
    bool known = false;
    for (const auto& [unit, factor] : kUnits) {
      if (!rest.starts_with(unit)) continue;
      total += number * factor;
      rest.remove_prefix(unit.size());
      known = true;
      break;
    }
    if (!known || total > 9.2e18) return bad();
  }
  return static_cast<long long>(negative ? -total : total);
}

}  // namespace dray::builder
