// SPDX-License-Identifier: Apache-2.0
// Files for other frontends say so where their language has comments: "// syntax=…", or { "syntax": "…" } as JSON.
#include <nlohmann/json.hpp>

#include "dockerfile/parser.hpp"
#include "dockerfile/text.hpp"

namespace dray::builder {

std::string foreign_syntax(std::string_view text) {
  constexpr std::size_t kMost = 1u << 20;
  std::string_view rest = text.substr(0, kMost);
  if (rest.starts_with("#!")) rest.remove_prefix(std::min(rest.find('\n'), rest.size() - 1) + 1);
  const std::string_view first = trim(rest.substr(0, rest.find('\n')));
  if (first.starts_with("//")) {
    const auto directive = parse_directive(first.substr(2));
    return directive && directive->name == "syntax" ? directive->value.substr(0, directive->value.find(' ')) : "";
  }
  if (!trim_left(rest).starts_with('{')) return "";
  const auto json = nlohmann::json::parse(rest, nullptr, false);
  if (!json.is_object()) return "";
  const auto syntax = json.find("syntax");
  return syntax != json.end() && syntax->is_string() ? syntax->get<std::string>() : "";
}

}  // namespace dray::builder
