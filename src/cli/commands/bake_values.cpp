// SPDX-License-Identifier: Apache-2.0
// A bake file's variables, functions, targets and groups become values.
#include "bake_values.hpp"

#include <algorithm>

#include <dray/core/text.hpp>
#include <dray/image/image.hpp>

namespace dray::cli {
namespace {

constexpr std::size_t kMaxCells = 1000;

/// The one label of a block.
Result<std::string> label_of(const hcl::Block& block) {
  if (block.labels.size() == 1 && !block.labels[0].empty()) return block.labels[0];
  return hcl::error_at(block.place, "a " + block.type + " has one name: " + block.type + " \"NAME\" { … }");
}

Result<void> no_blocks(const hcl::Block& block) {
  if (block.blocks.empty()) return {};
  const hcl::Block& inner = block.blocks[0];
  return hcl::error_at(inner.place, "a " + block.type + " has no block \"" + inner.type +
                                        "\": attributes are written \"" + inner.type + " = { … }\"");
}

Result<void> only(const hcl::Block& block, std::initializer_list<std::string_view> known) {
  for (const hcl::Attribute& attribute : block.attributes)
    if (std::ranges::find(known, attribute.name) == known.end())
      return hcl::error_at(attribute.place, "a " + block.type + " has no attribute \"" + attribute.name + "\"");
  return {};
}

/// A name as such (HCL), or as a text (JSON).
Result<std::string> name_in(const hcl::Expression& expression) {
  if (expression.kind == hcl::Expression::Kind::variable) return expression.text;
  if (expression.kind == hcl::Expression::Kind::literal && expression.value.is_string()) return expression.value.text();
  return hcl::error_at(expression.place, "a plain name is required");
}

}  // namespace

Result<void> BakeValues::add_file(hcl::Block file) {
  for (const hcl::Attribute& attribute : file.attributes)
    variables_[attribute.name] = {.place = attribute.place, .otherwise = attribute.value, .is_attribute = true};
  for (const hcl::Block& block : file.blocks) {
    if (block.type == "variable") {
      TRY(add_variable(block));
    } else if (block.type == "function") {
      TRY(add_function(block));
    } else if (block.type == "target" || block.type == "group") {
      Blocks& known = blocks_[block.type + "." + TRY(label_of(block))];
      TRY(no_blocks(block));
      for (const hcl::Attribute& attribute : block.attributes) {
        known.attributes[attribute.name] = attribute.value;
        known.have_matrix = known.have_matrix || attribute.name == "matrix";
      }
    } else {
      return hcl::error_at(block.place,
                           "unknown section \"" + block.type + "\": there are target, group, variable, function");
    }
  }
  files_.push_back(std::move(file));
  return {};
}

Result<void> BakeValues::add_variable(const hcl::Block& block) {
  Variable& variable = variables_[TRY(label_of(block))];
  TRY(only(block, {"default", "type", "description", "sensitive"}));
  variable.place = block.place;
  variable.is_attribute = false;
  if (const hcl::Attribute* otherwise = block.find("default")) variable.otherwise = otherwise->value;
  if (const hcl::Attribute* description = block.find("description")) variable.description = description->value;
  if (const hcl::Attribute* sensitive = block.find("sensitive")) variable.sensitive = sensitive->value;
  if (const hcl::Attribute* type = block.find("type")) variable.type = TRY(hcl::read_type(*type->value));
  for (const hcl::Block& inner : block.blocks) {
    if (inner.type != "validation") return hcl::error_at(inner.place, "a variable has no block \"" + inner.type + "\"");
    TRY(only(inner, {"condition", "error_message"}));
    if (inner.find("condition") == nullptr) return hcl::error_at(inner.place, "a validation needs a \"condition\"");
    variable.validations.push_back(inner);
  }
  return {};
}

Result<void> BakeValues::add_function(const hcl::Block& block) {
  TRY(only(block, {"params", "variadic_params", "variadic_param", "result"}));
  TRY(no_blocks(block));
  hcl::UserFunction function;
  const hcl::Attribute* result = block.find("result");
  if (result == nullptr) return hcl::error_at(block.place, "a function needs a \"result\"");
  function.result = result->value;
  if (const hcl::Attribute* parameters = block.find("params")) {
    if (parameters->value->kind != hcl::Expression::Kind::tuple)
      return hcl::error_at(parameters->place, "\"params\" must be a list of names");
    for (const hcl::ExpressionRef& parameter : parameters->value->children)
      function.parameters.push_back(TRY(name_in(*parameter)));
  }
  for (const char* name : {"variadic_params", "variadic_param"})
    if (const hcl::Attribute* variadic = block.find(name)) function.variadic = TRY(name_in(*variadic->value));
  functions_[TRY(label_of(block))] = std::move(function);
  return {};
}

Result<void> BakeValues::check_variables() {
  for (const auto& [name, declared] : variables_) {
    TRY(variable(name, declared.place));
    TRY(validate(name, declared));
  }
  return {};
}

Result<std::vector<BakeValues::Described>> BakeValues::describe_variables() {
  std::vector<Described> list;
  for (const auto& [name, declared] : variables_) {
    if (declared.is_attribute) continue;
    Described described{
        .name = name, .type = declared.type ? hcl::to_text(*declared.type) : "", .description = "", .value = {}};
    if (declared.description)
      described.description = TRY(hcl::to_text(TRY(evaluator_.evaluate(*declared.description))));
    described.is_sensitive = TRY(is_sensitive(declared));
    const bool has_value = declared.otherwise || override_of(name, declared);
    if (has_value) described.value = TRY(variable(name, declared.place));
    list.push_back(std::move(described));
  }
  return list;
}

Result<void> BakeValues::validate(const std::string& name, const Variable& variable) {
  for (const hcl::Block& rule : variable.validations) {
    const hcl::Attribute& condition = *rule.find("condition");
    const hcl::Value outcome = TRY(evaluator_.evaluate(*condition.value));
    if (const auto holds = hcl::to_truth(outcome); holds && *holds) continue;
    std::string message = "the value does not meet its condition";
    if (const hcl::Attribute* text = rule.find("error_message"))
      message = TRY(hcl::to_text(TRY(evaluator_.evaluate(*text->value))));
    return hcl::error_at(condition.place, "variable \"" + name + "\": " + message);
  }
  return {};
}

Result<std::optional<hcl::Value>> BakeValues::variable(const std::string& name, const hcl::Place& place) {
  if (const auto known = values_.find(name); known != values_.end()) return std::optional(known->second);
  const auto declared = variables_.find(name);
  if (declared == variables_.end()) {
    if (name == "BAKE_CMD_CONTEXT") return std::optional<hcl::Value>("cwd://");
    if (name == "BAKE_LOCAL_PLATFORM") return std::optional<hcl::Value>(image::Platform::host().to_string());
    return std::optional<hcl::Value>();
  }
  if (!open_.insert(name).second) return hcl::error_at(place, "variable \"" + name + "\" depends on itself");
  auto value = value_of(name, declared->second);
  open_.erase(name);
  return std::optional(values_[name] = TRY(std::move(value)));
}

Result<bool> BakeValues::is_sensitive(const Variable& variable) {
  if (!variable.sensitive) return false;
  return hcl::to_truth(TRY(evaluator_.evaluate(*variable.sensitive)));
}

Result<hcl::Value> BakeValues::value_of(const std::string& name, const Variable& variable) {
  hcl::Value otherwise;
  if (variable.otherwise) otherwise = TRY(evaluator_.evaluate(*variable.otherwise));
  const bool is_sensitive = TRY(this->is_sensitive(variable));
  const auto wrong = [&](const Error& error) {
    return hcl::error_at(variable.place, "variable \"" + name + "\": " +
                                             (is_sensitive ? "its value is not what its type says" : error.message()));
  };
  auto set = given(name, variable, otherwise);
  if (!set) return wrong(set.error());
  if (*set) return **std::move(set);
  if (!variable.type) return variable.otherwise ? otherwise : hcl::Value("");
  auto converted = hcl::convert(otherwise, *variable.type, evaluator_.budget());
  if (!converted) return wrong(converted.error());
  return converted;
}

std::optional<BakeValues::Override> BakeValues::override_of(const std::string& name, const Variable& variable) const {
  if (variable.is_attribute || !environment_) return std::nullopt;
  if (variable.type && !variables_.contains(name + "_JSON"))
    if (auto json = environment_(name + "_JSON")) return Override{*std::move(json), true};
  if (auto text = environment_(name)) return Override{*std::move(text), false};
  return std::nullopt;
}

/// The environment's value, read as what the variable is.
Result<std::optional<hcl::Value>> BakeValues::given(const std::string& name, const Variable& variable,
                                                    const hcl::Value& otherwise) {
  using Kind = hcl::Value::Kind;
  const auto found = override_of(name, variable);
  if (!found) return std::optional<hcl::Value>();
  const std::string* text = &found->text;
  if (found->is_json)
    return std::optional(TRY(hcl::convert(TRY(hcl::from_json(*text)), *variable.type, evaluator_.budget())));
  if (variable.type) return std::optional(TRY(hcl::read_override(*text, *variable.type, evaluator_.budget())));
  if (otherwise.kind() == Kind::boolean) {
    const auto truth = parse_bool(*text);
    if (!truth) return fail(ErrorCode::invalid_argument, "\"" + *text + "\" is neither true nor false");
    return std::optional<hcl::Value>(*truth);
  }
  if (otherwise.kind() == Kind::number) return std::optional<hcl::Value>(TRY(hcl::to_number(hcl::Value(*text))));
  if (otherwise.is_list() || otherwise.is_object())
    return fail(ErrorCode::invalid_argument,
                "a list or an object can only be set where the variable has a type, such as type = list(string)");
  return std::optional<hcl::Value>(*text);
}

Result<std::optional<hcl::Value>> BakeValues::attribute_of_block(const std::string& type, const std::string& label,
                                                                 const std::string& name, const hcl::Place& place) {
  if ((type != "target" && type != "group") || variables_.contains(type)) return std::optional<hcl::Value>();
  const auto blocks = blocks_.find(type + "." + label);
  if (blocks == blocks_.end()) return hcl::error_at(place, "there is no " + type + " \"" + label + "\"");
  if (blocks->second.have_matrix)
    return hcl::error_at(place, "target \"" + label + "\" has a matrix: its attributes cannot be used elsewhere");
  const auto attribute = blocks->second.attributes.find(name);
  if (attribute == blocks->second.attributes.end())
    return hcl::error_at(place, type + " \"" + label + "\" has no attribute \"" + name + "\" of its own");
  const std::string key = type + "." + label + "." + name;
  if (!open_.insert(key).second) return hcl::error_at(place, key + " depends on itself");
  auto value = evaluator_.evaluate(*attribute->second);
  open_.erase(key);
  return std::optional(TRY(std::move(value)));
}

const hcl::UserFunction* BakeValues::function(const std::string& name) {
  const auto found = functions_.find(name);
  return found == functions_.end() ? nullptr : &found->second;
}

std::vector<std::string> BakeValues::names() const {
  std::vector<std::string> names;
  for (const auto& [name, variable] : variables_) names.push_back(name);
  return names;
}

Result<BakeDefinition> BakeValues::define(const hcl::Block& block, const hcl::Locals* locals, bool name_only) {
  BakeDefinition definition{.name = block.labels[0], .attributes = {}};
  for (const hcl::Attribute& attribute : block.attributes) {
    if (attribute.name == "matrix" || (name_only && attribute.name != "name")) continue;
    hcl::Value value = TRY(evaluator_.evaluate(*attribute.value, locals));
    // Where it goes, nothing is shared any more.
    if (auto paid = evaluator_.budget().make(value.weight()); !paid)
      return hcl::error_at(attribute.place, paid.error().message());
    definition.attributes.push_back({attribute.name, std::move(value), attribute.place});
  }
  return definition;
}

/// A matrix makes a target for each combination, and a group of all of them.
Result<void> BakeValues::unfold(const hcl::Block& block, std::vector<BakeDefinition>& definitions, bool names_only) {
  const std::string& target = block.labels[0];
  const hcl::Attribute& attribute = *block.find("matrix");
  const auto wrong = [&](const std::string& what) {
    return hcl::error_at(attribute.place, "target \"" + target + "\": " + what);
  };
  const hcl::Value matrix = TRY(evaluator_.evaluate(*attribute.value));
  if (!matrix.is_object()) return wrong("the matrix must be an object of lists");
  if (block.find("name") == nullptr) return wrong("a matrix needs a \"name\" with its variables");
  std::vector<hcl::Object> rows = {{}};
  for (const auto& [name, list] : matrix.object()) {
    if (!list.is_list() || list.list().empty()) return wrong("matrix \"" + name + "\" is no list with items");
    std::vector<hcl::Object> longer;
    for (const hcl::Object& row : rows)
      for (const hcl::Value& item : list.list()) {
        if (longer.size() >= kMaxCells) return wrong("the matrix has over 1000 cells");
        longer.push_back(row);
        longer.back()[name] = item;
      }
    rows = std::move(longer);
  }
  std::set<std::string> names;
  for (const hcl::Object& row : rows) {
    const hcl::Locals locals{.outer = nullptr, .values = row};
    BakeDefinition cell = TRY(define(block, &locals, names_only));
    const auto given = std::ranges::find(cell.attributes, "name", &BakeDefinition::Attribute::name);
    auto name = hcl::to_text(given->value);
    cell.attributes.erase(given);
    if (!name || name->empty()) return wrong("the name must be a text");
    if (*name == target || !names.insert(*name).second)
      return wrong("the matrix gives the name \"" + *name + "\" twice");
    cell.name = *std::move(name);
    definitions.push_back(std::move(cell));
  }
  return {};
}

Result<std::vector<BakeDefinition>> BakeValues::targets() {
  std::vector<BakeDefinition> definitions;
  for (const hcl::Block& file : files_)
    for (const hcl::Block& block : file.blocks) {
      if (block.type != "target") continue;
      if (block.find("matrix") != nullptr)
        TRY(unfold(block, definitions));
      else
        definitions.push_back(TRY(define(block, nullptr)));
    }
  return definitions;
}

Result<std::vector<BakeDefinition>> BakeValues::groups() {
  std::vector<BakeDefinition> definitions;
  for (const hcl::Block& file : files_)
    for (const hcl::Block& block : file.blocks) {
      if (block.type == "group") {
        TRY(only(block, {"targets", "description"}));
        definitions.push_back(TRY(define(block, nullptr)));
      } else if (block.type == "target" && block.find("matrix") != nullptr) {
        std::vector<BakeDefinition> cells;
        TRY(unfold(block, cells, true));
        hcl::List names;
        for (const BakeDefinition& cell : cells) names.emplace_back(cell.name);
        definitions.push_back({block.labels[0], {{"targets", hcl::Value(std::move(names)), block.place}}});
      }
    }
  return definitions;
}

}  // namespace dray::cli
