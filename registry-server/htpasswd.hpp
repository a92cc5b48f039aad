// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include <dray/core/result.hpp>

namespace dray::registry_server {

/// Users of an htpasswd file (`htpasswd -B`): bcrypt only, the others are broken or slow to attack only in name.
/// Thread-safe.
class Htpasswd {
 public:
  static Result<Htpasswd> load(const std::string& path);
  static Result<Htpasswd> parse(std::string_view text);

  /// The value of an Authorization header: the user it stands for, or "" if it stands for none. A wrong user costs as
  /// much time as a wrong password; a right pair is remembered (as a keyed hash), since bcrypt is slow on purpose.
  std::string user_of(std::string_view authorization) const;

 private:
  Htpasswd() : mutex_(std::make_unique<std::mutex>()) {}
  std::map<std::string, std::string, std::less<>> hashes_;
  std::string key_;  ///< random, of this process
  std::unique_ptr<std::mutex> mutex_;
  mutable std::set<std::string> known_;
};

}  // namespace dray::registry_server
