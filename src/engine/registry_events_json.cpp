// SPDX-License-Identifier: Apache-2.0
// The lines of dray-registry as values. The helper is ours, but its strings come from registries: types are
// checked here too.
#include "registry_process.hpp"

#include <nlohmann/json.hpp>

namespace dray::engine {
namespace {

using nlohmann::json;

std::string text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

bool flag(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

ProgressEvent::Kind parse_kind(const std::string& name) {
  using Kind = ProgressEvent::Kind;
  if (name == "started") return Kind::started;
  if (name == "output") return Kind::output;
  if (name == "status") return Kind::status;
  if (name == "completed") return Kind::completed;
  if (name == "cached") return Kind::cached;
  if (name == "failed") return Kind::failed;
  return Kind::message;
}

}  // namespace

Result<HelperLine> parse_helper_line(std::string_view line) {
  const json object = json::parse(line.begin(), line.end(), nullptr, false);
  if (!object.is_object()) return fail(ErrorCode::internal, "dray-registry wrote a line that is not JSON");
  if (const auto error = object.find("error"); error != object.end() && error->is_object()) {
    const std::uint64_t code = number(*error, "code");
    const auto last = static_cast<std::uint64_t>(ErrorCode::command_not_found);
    Error parsed(code <= last ? static_cast<ErrorCode>(code) : ErrorCode::internal, text(*error, "message"));
    if (std::string hint = text(*error, "hint"); !hint.empty()) parsed = std::move(parsed).with_hint(std::move(hint));
    return HelperLine(std::move(parsed));
  }
  if (const auto result = object.find("result"); result != object.end() && result->is_object()) {
    HelperResult parsed;
    parsed.reference = text(*result, "reference");
    parsed.digest = text(*result, "digest");
    parsed.image_id = text(*result, "image_id");
    parsed.media_type = text(*result, "media_type");
    parsed.text = text(*result, "text");
    if (const auto names = result->find("names"); names != result->end() && names->is_array())
      for (const json& name : *names)
        if (name.is_string()) parsed.names.push_back(name.get<std::string>());
    if (const auto found = result->find("found"); found != result->end() && found->is_array())
      for (const json& item : *found)
        if (item.is_object())
          parsed.found.push_back(
              {text(item, "name"), text(item, "description"), number(item, "stars"), flag(item, "official")});
    parsed.etag = text(*result, "etag");
    parsed.last_modified = text(*result, "last_modified");
    parsed.size = number(*result, "size");
    parsed.up_to_date = flag(*result, "up_to_date");
    parsed.config_path = text(*result, "config_path");
    parsed.username = text(*result, "username");
    parsed.was_logged_in = flag(*result, "was_logged_in");
    return HelperLine(std::move(parsed));
  }
  ProgressEvent event;
  event.kind = parse_kind(text(object, "kind"));
  event.id = static_cast<int>(number(object, "id"));
  event.name = text(object, "name");
  event.text = text(object, "text");
  event.is_stderr = flag(object, "stderr");
  event.current = number(object, "current");
  event.total = number(object, "total");
  return HelperLine(std::move(event));
}

}  // namespace dray::engine
