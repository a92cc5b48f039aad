// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "catch.hpp"

// The shared corpus lies beside the source tree; tests that read it do nothing where it is absent.

namespace corpus {

inline std::filesystem::path root() { return std::filesystem::path(DRAY_SOURCE_DIR) / "../shared/corpus"; }
inline bool present() {
  if (std::filesystem::exists(root())) return true;
  WARN("no corpus: skipped");
  return false;
}
inline std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
nlohmann::json json(const std::string& path);
/// The folders in a folder of the corpus, sorted.
inline std::vector<std::filesystem::path> cases(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(root() / folder))
    if (entry.is_directory()) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace corpus
