// SPDX-License-Identifier: Apache-2.0
// YAML through libyaml's events. The result is JSON, which everything else already reads.
#include <yaml.h>

#include <map>
#include <memory>

#include <nlohmann/json.hpp>

#include "bake_definition.hpp"

namespace dray::cli {
namespace {

using nlohmann::ordered_json;

constexpr int kMaxDepth = 100;
constexpr std::size_t kMaxValues = 100'000;

struct ParserCloser {
  void operator()(yaml_parser_t* parser) const {
    yaml_parser_delete(parser);
    delete parser;
  }
};

class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { yaml_event_delete(&event); }
  yaml_event_t event{};
};

class Reader {
 public:
  explicit Reader(std::string_view text) : parser_(new yaml_parser_t{}) {
    yaml_parser_initialize(parser_.get());
    yaml_parser_set_input_string(parser_.get(), reinterpret_cast<const unsigned char*>(text.data()), text.size());
  }

  Result<ordered_json> document() {
    for (;;) {
      Event next;
      TRY(read(next));
      if (next.event.type == YAML_STREAM_END_EVENT) return ordered_json();
      if (next.event.type == YAML_DOCUMENT_START_EVENT) break;
    }
    Event first;
    TRY(read(first));
    return value(first.event, 0);
  }

 private:
  Result<void> read(Event& event) {
    if (yaml_parser_parse(parser_.get(), &event.event) == 1) return {};
    const yaml_parser_t& parser = *parser_;
    return fail(ErrorCode::invalid_argument, "line " + std::to_string(parser.problem_mark.line + 1) + ": " +
                                                 (parser.problem != nullptr ? parser.problem : "this is no YAML"));
  }

  static std::string text_of(const unsigned char* text) {
    return text != nullptr ? reinterpret_cast<const char*>(text) : "";
  }

  Result<ordered_json> value(const yaml_event_t& event, int depth) {
    if (depth > kMaxDepth) return fail(ErrorCode::invalid_argument, "values are nested too deeply");
    if (++values_ > kMaxValues) return fail(ErrorCode::invalid_argument, "more than 100,000 values");
    ordered_json result;
    const unsigned char* anchor = nullptr;
    switch (event.type) {
      case YAML_SCALAR_EVENT:
        anchor = event.data.scalar.anchor;
        result = scalar(event);
        break;
      case YAML_SEQUENCE_START_EVENT: {
        const std::string name = text_of(event.data.sequence_start.anchor);
        result = TRY(sequence(depth));
        if (!name.empty()) anchors_[name] = result;
        return result;
      }
      case YAML_MAPPING_START_EVENT: {
        const std::string name = text_of(event.data.mapping_start.anchor);
        result = TRY(mapping(depth));
        if (!name.empty()) anchors_[name] = result;
        return result;
      }
      case YAML_ALIAS_EVENT: {
        const auto found = anchors_.find(text_of(event.data.alias.anchor));
        if (found == anchors_.end())
          return fail(ErrorCode::invalid_argument, "unknown alias \"" + text_of(event.data.alias.anchor) + "\"");
        values_ += count(found->second);  // or a few lines could stand for billions of values
        if (values_ > kMaxValues) return fail(ErrorCode::invalid_argument, "more than 100,000 values");
        return found->second;
      }
      default:
        return fail(ErrorCode::invalid_argument, "a value is missing");
    }
    if (anchor != nullptr) anchors_[text_of(anchor)] = result;
    return result;
  }

  static std::size_t count(const ordered_json& value) {
    std::size_t total = 1;
    if (value.is_structured())
      for (const auto& item : value) total += count(item);
    return total;
  }

  static ordered_json scalar(const yaml_event_t& event) {
    const std::string text(reinterpret_cast<const char*>(event.data.scalar.value), event.data.scalar.length);
    if (event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return text;
    if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
    if (text == "true" || text == "True" || text == "TRUE") return true;
    if (text == "false" || text == "False" || text == "FALSE") return false;
    return text;
  }

  Result<ordered_json> sequence(int depth) {
    ordered_json list = ordered_json::array();
    for (;;) {
      Event next;
      TRY(read(next));
      if (next.event.type == YAML_SEQUENCE_END_EVENT) return list;
      list.push_back(TRY(value(next.event, depth + 1)));
    }
  }

  Result<ordered_json> mapping(int depth) {
    ordered_json map = ordered_json::object();
    ordered_json merged = ordered_json::array();
    for (;;) {
      Event next;
      TRY(read(next));
      if (next.event.type == YAML_MAPPING_END_EVENT) break;
      if (next.event.type != YAML_SCALAR_EVENT) return fail(ErrorCode::invalid_argument, "a key is no scalar");
      const std::string key(reinterpret_cast<const char*>(next.event.data.scalar.value), next.event.data.scalar.length);
      Event content;
      TRY(read(content));
      ordered_json item = TRY(value(content.event, depth + 1));
      if (key != "<<")
        map[key] = std::move(item);
      else if (item.is_array())
        for (auto& part : item) merged.push_back(std::move(part));
      else
        merged.push_back(std::move(item));
    }
    for (const auto& part : merged) {
      if (!part.is_object()) return fail(ErrorCode::invalid_argument, "\"<<\" takes a mapping");
      for (const auto& [key, item] : part.items())
        if (!map.contains(key)) map[key] = item;
    }
    return map;
  }

  std::unique_ptr<yaml_parser_t, ParserCloser> parser_;
  std::map<std::string, ordered_json> anchors_;
  std::size_t values_ = 0;
};

}  // namespace

Result<std::string> yaml_to_json(std::string_view text) {
  Reader reader(text);
  const ordered_json document = TRY(reader.document());
  return document.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace dray::cli
