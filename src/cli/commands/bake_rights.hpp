// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <dray/builder/builder.hpp>

namespace dray::cli {

/// What a build can do to this machine beyond the working directory: `kind` as in --allow (network.host,
/// security.insecure, device, ssh, fs.read, fs.write), `what` a device or an absolute path without symlinks.
struct BakeRight {
  std::string kind, what;
  auto operator<=>(const BakeRight&) const = default;
};

/// A path as the kernel would follow it, also where its end does not exist yet.
Result<std::string> resolve_path(const std::string& path);

/// All that the build uses, inside of the working directory or not.
Result<std::set<BakeRight>> rights_of(const builder::BuildRequest& request);

/// A bake file comes from others, as a Dockerfile does: what its builds may use besides the working directory is the
/// user's to say. https://docs.docker.com/reference/cli/docker/buildx/bake/#allow
class BakeRights {
 public:
  /// --allow's values. Without `check_paths`, all paths are granted.
  static Result<BakeRights> parse(const std::vector<std::string>& allowed, bool check_paths);

  /// Remembers what the target wants and neither --allow nor its own part of the command line grants.
  void want(const std::string& target, const std::set<BakeRight>& wanted, const std::set<BakeRight>& own);
  /// permission_denied with all that is missing, and the flags that grant it.
  Result<void> check() const;

 private:
  std::set<BakeRight> granted_;
  std::map<BakeRight, std::vector<std::string>> missing_;  ///< and the targets that want it
};

}  // namespace dray::cli
