// SPDX-License-Identifier: Apache-2.0
// Bake files in HCL, JSON and compose's form, as blocks. Texts of JSON are templates as those in HCL; those of compose
// are as they are.
#include <nlohmann/json.hpp>

#include "bake_values.hpp"

namespace dray::cli {
namespace {

using hcl::Expression;
using hcl::ExpressionRef;
using nlohmann::ordered_json;

constexpr int kMaxDepth = 100;

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

class Reader {
 public:
  Reader(std::string_view file, bool templates) : place_{file, 0}, templates_(templates) {}

  Result<hcl::Block> file(const ordered_json& document) const {
    hcl::Block file;
    file.place = place_;
    for (const auto& [section, content] : document.items()) {
      if (section != "target" && section != "group" && section != "variable" && section != "function") {
        if (content.is_object()) return hcl::error_at(place_, "unknown section \"" + section + "\"");
        file.attributes.push_back({section, place_, TRY(expression(content, 0))});
        continue;
      }
      if (!content.is_object()) return hcl::error_at(place_, "\"" + section + "\" must be an object");
      for (const auto& [name, definition] : content.items()) {
        if (!definition.is_object()) return hcl::error_at(place_, "\"" + name + "\" must be an object");
        file.blocks.push_back(TRY_CTX(block(section, name, definition), section + " \"" + name + "\""));
      }
    }
    return file;
  }

 private:
  Result<hcl::Block> block(const std::string& type, const std::string& label, const ordered_json& definition) const {
    hcl::Block block;
    block.type = type;
    if (!label.empty()) block.labels = {label};
    block.place = place_;
    for (const auto& [name, value] : definition.items()) {
      if (type != "variable" || name != "validation") {
        block.attributes.push_back({name, place_, TRY(expression(value, 0))});
        continue;
      }
      for (const ordered_json& rule : value.is_array() ? value : ordered_json::array({value})) {
        if (!rule.is_object()) return invalid("\"validation\" must be an object");
        block.blocks.push_back(TRY(this->block(name, "", rule)));
      }
    }
    return block;
  }

  Result<ExpressionRef> text(const std::string& text) const {
    if (templates_) return hcl::parse_template(text, place_);
    return hcl::literal(text, place_);
  }

  Result<ExpressionRef> expression(const ordered_json& value, int depth) const {
    if (depth > kMaxDepth) return invalid("the file is nested too deeply");
    if (value.is_string()) return text(value.get<std::string>());
    if (value.is_boolean()) return hcl::literal(value.get<bool>(), place_);
    if (value.is_number_integer()) return hcl::literal(static_cast<hcl::Number>(value.get<std::int64_t>()), place_);
    if (value.is_number()) return hcl::literal(value.get<double>(), place_);
    Expression made;
    made.place = place_;
    if (value.is_array()) {
      made.kind = Expression::Kind::tuple;
      for (const ordered_json& item : value) made.children.push_back(TRY(expression(item, depth + 1)));
    } else if (value.is_object()) {
      made.kind = Expression::Kind::object;
      for (const auto& [name, item] : value.items()) {
        made.children.push_back(TRY(text(name)));
        made.children.push_back(TRY(expression(item, depth + 1)));
      }
    }
    return std::make_shared<const Expression>(std::move(made));
  }

  hcl::Place place_;
  bool templates_;
};

/// nothrow, and nothing deeper than is read later.
ordered_json parse(const std::string& text) {
  if (!hcl::is_readable_json(text, kMaxDepth + 10)) return ordered_json(ordered_json::value_t::discarded);
  return ordered_json::parse(text, nullptr, false);
}

bool has_extension(const std::string& name, std::initializer_list<const char*> extensions) {
  for (const char* extension : extensions)
    if (name.ends_with(extension)) return true;
  return false;
}

}  // namespace

Result<hcl::Block> read_bake_file(const BakeFile& file,
                                  const std::function<std::optional<std::string>(const std::string&)>& environment) {
  const std::size_t first = file.text.find_first_not_of(" \t\r\n");
  const bool is_object = first != std::string::npos && file.text[first] == '{';
  const bool services = file.text.starts_with("services:") || file.text.contains("\nservices:");
  if (has_extension(file.name, {".yaml", ".yml"}) ||
      (!has_extension(file.name, {".hcl", ".json"}) && services && !is_object)) {
    const std::string json = TRY_CTX(yaml_to_json(file.text), "\"" + file.name + "\"");
    const std::string made = TRY_CTX(compose_to_bake(json, environment), "\"" + file.name + "\"");
    return Reader(file.name, false).file(parse(made));
  }
  if (file.name.ends_with(".hcl") || (!file.name.ends_with(".json") && !is_object))
    return hcl::parse_file(file.text, file.name);
  const ordered_json document = parse(file.text);
  if (document.is_discarded() || !document.is_object())
    return invalid(
        "\"" + file.name +
        "\" is not a JSON object, or is too large or too deep to be read (HCL belongs into a file named .hcl)");
  return Reader(file.name, true).file(document);
}

}  // namespace dray::cli
