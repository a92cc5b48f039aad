// SPDX-License-Identifier: Apache-2.0
// Functions of lists, and of lists as sets.
#include <algorithm>
#include <cmath>

#include "evaluate.hpp"
#include "functions.hpp"

namespace dray::cli::hcl {
namespace {

constexpr std::size_t kMaxItems = 100'000;

/// Pays for as much as the comparisons can look at.
Result<bool> has(const List& list, const Value& item, Budget& budget) {
  std::size_t steps = list.size();
  if (item.weight() > 1)
    for (const Value& other : list)
      if (other.kind() == item.kind()) steps += std::min(other.weight(), item.weight()) / 8;
  TRY(budget.work(steps));
  return std::ranges::find(list, item) != list.end();
}

Result<Value> concat(Arguments a) {
  List all;
  for (const Value& argument : a)
    for (const Value& item : TRY(to_list(argument))) {
      TRY(a.budget.make(1));
      all.push_back(item);
    }
  return Value(std::move(all));
}

Result<void> flatten_into(const Value& value, List& flat, int depth) {
  if (depth > 100) return wrong("the lists are nested too deeply");
  for (const Value& item : value.list()) {
    if (flat.size() > kMaxItems) return wrong("the result is too long");
    if (item.is_list())
      TRY(flatten_into(item, flat, depth + 1));
    else
      flat.push_back(item);
  }
  return {};
}

Result<Value> flatten(Arguments a) {
  List flat;
  TRY(to_list(a[0]));
  TRY(flatten_into(a[0], flat, 0));
  return Value(std::move(flat));
}

/// Those of the list that are in the other one, or those that are not.
Result<List> chosen(const List& list, const List& other, bool inside, Budget& budget) {
  List items;
  for (const Value& item : list)
    if (TRY(has(other, item, budget)) == inside) items.push_back(item);
  return items;
}

Result<List> distinct_items(const List& list, Budget& budget) {
  if (list.size() > 2000) return wrong("the list has more than 2000 items");
  List items;
  for (const Value& item : list)
    if (!TRY(has(items, item, budget))) items.push_back(item);
  return items;
}

Result<Value> distinct(Arguments a) { return Value(TRY(distinct_items(TRY(to_list(a[0])), a.budget))); }

Result<Value> length(Arguments a) {
  if (a[0].is_object()) return Value(static_cast<Number>(a[0].object().size()));
  if (a[0].is_string()) return wrong("a list or an object is required; strlen() counts the characters of a text");
  return Value(static_cast<Number>(TRY(to_list(a[0])).size()));
}

Result<Value> contains(Arguments a) { return Value(TRY(has(TRY(to_list(a[0])), a[1], a.budget))); }

Result<Value> element(Arguments a) {
  const List list = TRY(to_list(a[0]));
  const std::int64_t index = TRY(to_integer(a[1])), size = static_cast<std::int64_t>(list.size());
  if (size == 0) return wrong("the list is empty");
  return list[static_cast<std::size_t>((index % size + size) % size)];
}

Result<Value> index(Arguments a) { return item_of(a[0], a[1]); }
Result<Value> hasindex(Arguments a) { return Value(item_of(a[0], a[1]).has_value()); }

Result<Value> indexof(Arguments a) {
  const List list = TRY(to_list(a[0]));
  const auto found = std::ranges::find(list, a[1]);
  if (found == list.end()) return wrong("the item is not in the list");
  return Value(static_cast<Number>(found - list.begin()));
}

Result<Value> slice(Arguments a) {
  const List list = TRY(to_list(a[0]));
  const std::int64_t begin = TRY(to_integer(a[1])), end = TRY(to_integer(a[2]));
  if (begin < 0 || end < begin || end > static_cast<std::int64_t>(list.size()))
    return wrong("the range is not within the list");
  return Value(List(list.begin() + begin, list.begin() + end));
}

/// range(end), range(begin, end), range(begin, end, step)
Result<Value> range(Arguments a) {
  const Number begin = a.size() == 1 ? 0 : TRY(to_number(a[0]));
  const Number end = TRY(to_number(a[a.size() == 1 ? 0 : 1]));
  const Number step = a.size() == 3 ? TRY(to_number(a[2])) : end < begin ? -1 : 1;
  if (step == 0 || (end > begin) != (step > 0)) {
    if (end == begin) return Value(List());
    return wrong("the step does not lead to the end");
  }
  List numbers;
  for (Number at = begin; step > 0 ? at < end : at > end; at += step) {
    if (numbers.size() == 1024) return wrong("more than 1024 numbers");
    TRY(a.budget.make(1));
    numbers.emplace_back(at);
  }
  return Value(std::move(numbers));
}

Result<Value> reverselist(Arguments a) {
  List list = TRY(to_list(a[0]));
  std::ranges::reverse(list);
  return Value(std::move(list));
}

Result<Value> sort(Arguments a) {
  std::vector<std::string> texts = TRY(to_texts(a[0]));
  std::ranges::sort(texts);
  return Value(List(texts.begin(), texts.end()));
}

Result<Value> compact(Arguments a) {
  List kept;
  for (const Value& item : TRY(to_list(a[0])))
    if (!item.is_null() && !TRY(to_text(item)).empty()) kept.push_back(item);
  return Value(std::move(kept));
}

Result<Value> coalesce(Arguments a) {
  for (const Value& item : a)
    if (!item.is_null()) return item;
  return wrong("all arguments are null");
}

Result<Value> coalescelist(Arguments a) {
  for (const Value& item : a)
    if (!item.is_null() && !TRY(to_list(item)).empty()) return item;
  return wrong("all lists are empty");
}

Result<Value> chunklist(Arguments a) {
  const List list = TRY(to_list(a[0]));
  const std::int64_t size = TRY(to_integer(a[1]));
  if (size < 0) return wrong("the size is negative");
  if (size == 0) return Value(list.empty() ? List() : List{Value(list)});
  List chunks;
  for (std::size_t at = 0; at < list.size(); at += static_cast<std::size_t>(size)) {
    const std::size_t end = std::min(list.size(), at + static_cast<std::size_t>(size));
    chunks.emplace_back(
        List(list.begin() + static_cast<std::ptrdiff_t>(at), list.begin() + static_cast<std::ptrdiff_t>(end)));
  }
  return Value(std::move(chunks));
}

/// A set's items have an order of their own: that of their text.
Result<Value> as_set(const List& list, Budget& budget) {
  List items = TRY(distinct_items(list, budget));
  std::ranges::stable_sort(items, [](const Value& x, const Value& y) {
    if (x.kind() != y.kind()) return x.kind() < y.kind();
    if (x.is_string()) return x.text() < y.text();
    return x.kind() == Value::Kind::number && x.number() < y.number();
  });
  return Value(std::move(items));
}

Result<Value> setunion(Arguments a) { return as_set(TRY(concat(a)).list(), a.budget); }

Result<Value> setintersection(Arguments a) {
  List common = TRY(to_list(a[0]));
  for (const Value& other : a) {
    const List list = TRY(to_list(other));
    if (list.size() > 2000 || common.size() > 2000) return wrong("the list has more than 2000 items");
    common = TRY(chosen(common, list, true, a.budget));
  }
  return as_set(common, a.budget);
}

Result<Value> setsubtract(Arguments a) {
  const List given = TRY(distinct_items(TRY(to_list(a[0])), a.budget));
  const List other = TRY(distinct_items(TRY(to_list(a[1])), a.budget));
  return as_set(TRY(chosen(given, other, false, a.budget)), a.budget);
}

Result<Value> setsymmetricdifference(Arguments a) {
  List result = TRY(distinct_items(TRY(to_list(a[0])), a.budget));
  for (std::size_t i = 1; i < a.size(); ++i) {
    const List other = TRY(distinct_items(TRY(to_list(a[i])), a.budget));
    List next = TRY(chosen(result, other, false, a.budget));
    for (Value& item : TRY(chosen(other, result, false, a.budget))) next.push_back(std::move(item));
    result = std::move(next);
  }
  return as_set(result, a.budget);
}

Result<Value> setproduct(Arguments a) {
  std::vector<List> rows = {{}};
  for (const Value& argument : a) {
    std::vector<List> longer;
    for (const List& row : rows)
      for (const Value& item : TRY(to_list(argument))) {
        if (longer.size() > 10'000) return wrong("the result is too long");
        TRY(a.budget.make(row.size() + 2));
        longer.push_back(row);
        longer.back().push_back(item);
      }
    rows = std::move(longer);
  }
  return Value(List(rows.begin(), rows.end()));
}

}  // namespace

const std::vector<Function>& list_functions() {
  static const std::vector<Function> functions = {{"concat", 1, kAnyArguments, concat},
                                                  {"flatten", 1, 1, flatten},
                                                  {"distinct", 1, 1, distinct},
                                                  {"length", 1, 1, length},
                                                  {"contains", 2, 2, contains, true},
                                                  {"sethaselement", 2, 2, contains, true},
                                                  {"element", 2, 2, element},
                                                  {"index", 2, 2, index},
                                                  {"hasindex", 2, 2, hasindex},
                                                  {"indexof", 2, 2, indexof},
                                                  {"slice", 3, 3, slice},
                                                  {"range", 1, 3, range},
                                                  {"reverselist", 1, 1, reverselist},
                                                  {"sort", 1, 1, sort},
                                                  {"compact", 1, 1, compact},
                                                  {"coalesce", 1, kAnyArguments, coalesce, true},
                                                  {"coalescelist", 1, kAnyArguments, coalescelist, true},
                                                  {"chunklist", 2, 2, chunklist},
                                                  {"setunion", 1, kAnyArguments, setunion},
                                                  {"setintersection", 1, kAnyArguments, setintersection},
                                                  {"setsubtract", 2, 2, setsubtract},
                                                  {"setsymmetricdifference", 1, kAnyArguments, setsymmetricdifference},
                                                  {"setproduct", 1, 20, setproduct}};
  return functions;
}

}  // namespace dray::cli::hcl
