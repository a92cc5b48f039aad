// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dockerfile/shell_lex.hpp"
#include "plan/shared_list.hpp"

namespace dray::builder {

/// Variables, each found in logarithmic time: a Dockerfile may set a hundred thousand.
class Environment {
 public:
  /// Where a variable set again is listed: at the end, as in BuildKit's steps, or where it was, as in a config.
  enum class Order { last_set, first_set };
  explicit Environment(Order order = Order::last_set) : order_(order) {}

  void set(std::string_view key, std::string_view value);
  void erase(std::string_view key);
  std::optional<std::string> get(std::string_view key) const;
  Lookup lookup() const {
    return [this](std::string_view key) { return get(key); };
  }
  const SharedList& list();               ///< "K=V"
  std::vector<std::string> keys() const;  ///< in the same order
  std::size_t bytes() const { return bytes_; }

 private:
  struct Variable {
    std::string value;
    std::uint64_t place = 0;
  };
  template <typename Text>
  std::vector<std::string> in_order(Text text) const;

  Order order_;
  std::map<std::string, Variable, std::less<>> variables_;
  std::uint64_t next_place_ = 0;
  std::size_t bytes_ = 0;
  std::optional<SharedList> list_;  ///< until the next change
};

}  // namespace dray::builder
