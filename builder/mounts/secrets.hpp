// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <dray/builder/builder.hpp>

namespace dray::builder {

/// The secrets a build was given: read when a step first asks, kept in memory only. Thread-safe.
class Secrets {
 public:
  explicit Secrets(const std::vector<SecretSource>& sources) : sources_(sources) {}
  /// nullopt: the build was given none of that id.
  Result<std::optional<std::string>> find(const std::string& id);

 private:
  const std::vector<SecretSource>& sources_;
  std::mutex mutex_;
  std::map<std::string, std::string> known_;
};

/// A detached, read-only mount of one file in memory.
Result<FileDescriptor> make_memory_file(std::string_view content, std::uint32_t mode, std::uint32_t uid,
                                        std::uint32_t gid, bool executable);

}  // namespace dray::builder
