// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dray::builder {

/// A list that its copies share: a Dockerfile may have thousands of steps, each with the same thousands of variables.
class SharedList {
 public:
  SharedList() : SharedList(std::vector<std::string>()) {}
  SharedList(std::initializer_list<std::string> list) : SharedList(std::vector<std::string>(list)) {}
  explicit SharedList(std::vector<std::string> list)
      : list_(std::make_shared<const std::vector<std::string>>(std::move(list))) {}

  const std::vector<std::string>& get() const { return *list_; }
  /// To this copy alone.
  void push_back(std::string item) {
    std::vector<std::string> own = *list_;
    own.push_back(std::move(item));
    *this = SharedList(std::move(own));
  }
  bool operator==(const SharedList& other) const { return list_ == other.list_ || *list_ == *other.list_; }

 private:
  std::shared_ptr<const std::vector<std::string>> list_;
};

}  // namespace dray::builder
