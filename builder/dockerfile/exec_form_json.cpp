// SPDX-License-Identifier: Apache-2.0
// The exec form is strict JSON. Anything else that begins with "[" is silently the shell form; only an array
// with something other than strings in it is an error.
#include <nlohmann/json.hpp>

#include "dockerfile/parser.hpp"
#include "dockerfile/text.hpp"

namespace dray::builder {

Result<std::optional<std::vector<std::string>>> parse_exec_form(std::string_view text) {
  using Strings = std::optional<std::vector<std::string>>;
  text = trim(text);
  if (!text.starts_with('[')) return Strings();
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_array()) return Strings();
  std::vector<std::string> strings;
  for (const auto& element : json) {
    if (!element.is_string())
      return fail(ErrorCode::invalid_argument,
                  "when using JSON array syntax, arrays must be comprised of strings only");
    strings.push_back(element.get<std::string>());
  }
  return Strings(std::move(strings));
}

}  // namespace dray::builder
