// SPDX-License-Identifier: Apache-2.0
#include "plan/environment.hpp"

#include <algorithm>

namespace dray::builder {

void Environment::set(std::string_view key, std::string_view value) {
  list_.reset();
  auto found = variables_.find(key);
  if (found == variables_.end()) {
    found = variables_.emplace(std::string(key), Variable{"", next_place_++}).first;
    bytes_ += key.size() + 2;
  } else if (order_ == Order::last_set) {
    found->second.place = next_place_++;
  }
  bytes_ += value.size() - found->second.value.size();
  found->second.value = value;
}

void Environment::erase(std::string_view key) {
  const auto found = variables_.find(key);
  if (found == variables_.end()) return;
  list_.reset();
  bytes_ -= found->first.size() + 2 + found->second.value.size();
  variables_.erase(found);
}

std::optional<std::string> Environment::get(std::string_view key) const {
  const auto found = variables_.find(key);
  if (found == variables_.end()) return std::nullopt;
  return found->second.value;
}

template <typename Text>
std::vector<std::string> Environment::in_order(Text text) const {
  std::vector<std::pair<std::uint64_t, std::string>> placed;
  placed.reserve(variables_.size());
  for (const auto& [key, variable] : variables_) placed.emplace_back(variable.place, text(key, variable.value));
  std::sort(placed.begin(), placed.end());
  std::vector<std::string> list;
  list.reserve(placed.size());
  for (auto& [place, line] : placed) list.push_back(std::move(line));
  return list;
}

const SharedList& Environment::list() {
  if (!list_)
    list_ = SharedList(in_order([](const std::string& key, const std::string& value) { return key + "=" + value; }));
  return *list_;
}

std::vector<std::string> Environment::keys() const {
  return in_order([](const std::string& key, const std::string&) { return key; });
}

}  // namespace dray::builder
