// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::builder {

/// The "--name=value" words of an instruction, checked against those it knows.
class Flags {
 public:
  Flags& text(std::string name) { return know(std::move(name), Kind::text); }
  Flags& list(std::string name) { return know(std::move(name), Kind::list); }
  Flags& boolean(std::string name) { return know(std::move(name), Kind::boolean); }
  Result<void> parse(const std::vector<std::string>& words);

  std::string value(const std::string& name) const;  ///< or ""
  std::vector<std::string> values(const std::string& name) const;
  bool given(const std::string& name) const { return used_.contains(name); }
  bool is_true(const std::string& name) const;

 private:
  enum class Kind { text, list, boolean };
  Flags& know(std::string name, Kind kind) {
    known_[std::move(name)] = kind;
    return *this;
  }
  std::map<std::string, Kind> known_;
  std::map<std::string, std::vector<std::string>> used_;
};

/// "1h30m", "500ms" as nanoseconds (Go's time.ParseDuration), at most about 292 years.
Result<long long> parse_duration(std::string_view text);

}  // namespace dray::builder
