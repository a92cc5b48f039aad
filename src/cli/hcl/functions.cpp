// SPDX-License-Identifier: Apache-2.0
// All functions by name, and what their arguments are taken as.
#include "functions.hpp"

#include <cmath>
#include <unordered_map>

namespace dray::cli::hcl {
namespace {

const std::unordered_map<std::string_view, const Function*>& all_functions() {
  static const auto functions = [] {
    std::unordered_map<std::string_view, const Function*> all;
    for (const auto* table : {&text_functions(), &pattern_functions(), &encoding_functions(), &number_functions(),
                              &list_functions(), &object_functions(), &format_functions(), &time_functions()})
      for (const Function& function : *table) all.emplace(function.name, &function);
    return all;
  }();
  return functions;
}

}  // namespace

const Function* find_function(std::string_view name) {
  const auto found = all_functions().find(name);
  return found == all_functions().end() ? nullptr : found->second;
}

std::vector<std::string> function_names() {
  std::vector<std::string> names = {"try", "can", "convert"};
  for (const auto& [name, function] : all_functions()) names.emplace_back(name);
  return names;
}

Result<List> to_list(const Value& value) {
  if (!value.is_list()) return wrong(std::string("a list is required, not ") + value.kind_name());
  return value.list();
}

Result<Object> to_object(const Value& value) {
  if (!value.is_object()) return wrong(std::string("an object is required, not ") + value.kind_name());
  return value.object();
}

Result<std::int64_t> to_integer(const Value& value) {
  const Number number = TRY(to_number(value));
  if (std::floor(number) != number || std::fabs(number) > 9e15)
    return wrong("a whole number is required, not " + number_text(number));
  return static_cast<std::int64_t>(number);
}

Result<std::vector<std::string>> to_texts(const Value& list) {
  std::vector<std::string> texts;
  for (const Value& item : TRY(to_list(list))) texts.push_back(TRY(to_text(item)));
  return texts;
}

}  // namespace dray::cli::hcl
