// SPDX-License-Identifier: Apache-2.0
// Functions of objects.
#include "functions.hpp"

namespace dray::cli::hcl {
namespace {

Result<Value> keys(Arguments a) {
  List names;
  for (const auto& [name, item] : TRY(to_object(a[0]))) names.emplace_back(name);
  return Value(std::move(names));
}

Result<Value> values(Arguments a) {
  List items;
  for (const auto& [name, item] : TRY(to_object(a[0]))) items.push_back(item);
  return Value(std::move(items));
}

Result<Value> lookup(Arguments a) {
  const Object object = TRY(to_object(a[0]));
  const std::string name = TRY(to_text(a[1]));
  const auto found = object.find(name);
  if (found != object.end()) return found->second;
  if (a.size() == 3) return a[2];
  return wrong("the object has no \"" + name.substr(0, 100) + "\"");
}

Result<Value> merge(Arguments a) {
  Object all;
  for (const Value& argument : a) {
    if (argument.is_null()) continue;
    for (const auto& [name, item] : TRY(to_object(argument))) all[name] = item;
  }
  return Value(std::move(all));
}

Result<Value> zipmap(Arguments a) {
  const std::vector<std::string> names = TRY(to_texts(a[0]));
  const List items = TRY(to_list(a[1]));
  if (names.size() != items.size())
    return wrong("there are " + std::to_string(names.size()) + " keys and " + std::to_string(items.size()) + " values");
  Object object;
  for (std::size_t i = 0; i < names.size(); ++i) object[names[i]] = items[i];
  return Value(std::move(object));
}

}  // namespace

const std::vector<Function>& object_functions() {
  static const std::vector<Function> functions = {{"keys", 1, 1, keys},
                                                  {"values", 1, 1, values},
                                                  {"lookup", 2, 3, lookup, true},
                                                  {"merge", 1, kAnyArguments, merge, true},
                                                  {"zipmap", 2, 2, zipmap}};
  return functions;
}

}  // namespace dray::cli::hcl
