// SPDX-License-Identifier: Apache-2.0
// The command line's "type=…,key=value" texts: fields as in CSV, so that a value in quotes may hold commas.
#include <algorithm>

#include <dray/builder/builder.hpp>

#include "dockerfile/text.hpp"

namespace dray::builder {
namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

/// The fields' keys in lower case. One without "=" is an error, as is one that comes twice with different values.
Result<TypedOptions> parse_fields(const std::string& text, const char* flag) {
  TypedOptions options;
  for (const std::string& field : TRY_CTX(split_csv(text), std::string("invalid ") + flag + " \"" + text + "\"")) {
    const std::size_t equals = field.find('=');
    const std::string key = to_lower(trim(std::string_view(field).substr(0, equals)));
    if (equals == std::string::npos || key.empty())
      return invalid(std::string("invalid ") + flag + " \"" + text + "\": \"" + field + "\" is not key=value");
    std::string value(trim(std::string_view(field).substr(equals + 1)));
    if (key == "type") {
      options.type = to_lower(value);
      continue;
    }
    // The rest of an annotation's key is the user's own.
    const std::string name =
        key.starts_with("annotation") ? std::string(trim(std::string_view(field).substr(0, equals))) : key;
    const auto [at, is_new] = options.attributes.emplace(name, value);
    if (!is_new && at->second != value)
      return invalid(std::string("invalid ") + flag + " \"" + text + "\": \"" + name + "\" is given twice");
  }
  return options;
}

}  // namespace

Result<TypedOptions> parse_output(const std::string& text) {
  if (text.empty()) return invalid("invalid --output \"\": expected type=…, a directory, or -");
  if (text == "-") return TypedOptions{"tar", {{"dest", "-"}}};
  const std::vector<std::string> fields = TRY_CTX(split_csv(text), "invalid --output \"" + text + "\"");
  if (fields.size() == 1 && !text.starts_with("type=") && !text.contains('='))
    return TypedOptions{"local", {{"dest", text}}};
  TypedOptions options = TRY(parse_fields(text, "--output"));
  if (options.type.empty()) return invalid("invalid --output \"" + text + "\": \"type\" is missing");
  return options;
}

Result<TypedOptions> parse_cache_option(const std::string& text) {
  if (!text.empty() && !text.contains('=')) return TypedOptions{"registry", {{"ref", text}}};
  TypedOptions options = TRY(parse_fields(text, "cache option"));
  if (options.type.empty()) return invalid("invalid cache option \"" + text + "\": \"type\" is missing");
  return options;
}

Result<std::optional<TypedOptions>> parse_attestation(const std::string& text, const std::string& type) {
  const std::string flag = type.empty() ? "--attest" : "--" + type;
  const std::string whole = to_lower(text);
  if (!type.empty() && (whole == "false" || whole == "0")) return std::optional<TypedOptions>();
  TypedOptions options;
  if (!type.empty() && (whole == "true" || whole == "1" || whole.empty())) {
    options.type = type;
  } else if (!type.empty() && !text.contains('=')) {
    options = {type, {{"mode", whole}}};
  } else {
    options = TRY(parse_fields(text, flag.c_str()));
    if (!type.empty()) options.type = type;
  }
  if (options.type != "provenance" && options.type != "sbom")
    return invalid("invalid " + flag + " \"" + text + "\": the type is provenance or sbom");
  if (const auto disabled = options.attributes.find("disabled"); disabled != options.attributes.end()) {
    if (disabled->second == "true") return std::optional<TypedOptions>();
    if (disabled->second != "false") return invalid("invalid " + flag + " \"" + text + "\": disabled is true or false");
    options.attributes.erase(disabled);
  }
  return std::optional<TypedOptions>(std::move(options));
}

Result<std::pair<std::string, std::string>> parse_annotation(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return invalid("invalid annotation \"" + text + "\": expected KEY=VALUE");
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

}  // namespace dray::builder
