// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <dray/core/rooted_path.hpp>

#include "attest/attest.hpp"
#include "dockerfile/text.hpp"
#include "export/tree.hpp"

namespace dray::builder {
namespace {

constexpr std::size_t kMaxDatabase = 64u << 20, kMaxMetadata = 1u << 20, kMaxPackages = 200000;

/// Calls `take` with each paragraph of "Key: value" lines; continuation lines are left out.
template <typename Take>
void paragraphs(const std::string& text, char separator, Take&& take) {
  std::map<std::string, std::string> fields;
  const auto flush = [&] {
    if (!fields.empty()) take(fields);
    fields.clear();
  };
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (trim(line).empty()) {
      flush();
      continue;
    }
    const std::size_t colon = line.find(separator);
    if (is_space(line.front()) || colon == std::string_view::npos) continue;
    fields.emplace(line.substr(0, colon), trim(line.substr(colon + 1)));
  }
  flush();
}

class Finder {
 public:
  Finder(FdRef root, const CancelToken& cancel) : root_(root), cancel_(cancel) {}

  Result<std::vector<Package>> run() {
    paragraphs(read("/etc/os-release", kMaxMetadata) + "\n", '=', [&](auto& fields) {
      distribution_ = unquoted(fields["ID"]);
      if (const std::string version = unquoted(fields["VERSION_ID"]); !version.empty()) distribution_ += "-" + version;
    });
    debian(read("/var/lib/dpkg/status", kMaxDatabase), "/var/lib/dpkg/status");
    paragraphs(read("/lib/apk/db/installed", kMaxDatabase), ':', [&](auto& fields) {
      add({"apk", fields["P"], fields["V"], fields["A"], fields["L"], distribution_, "/lib/apk/db/installed"});
    });
    const VisitEntry visit = [&](tar::Entry& entry, FdRef file) -> Result<void> {
      if (entry.type == tar::EntryType::regular && entry.size <= kMaxMetadata) look_at(entry.path, file);
      return {};
    };
    TRY(walk_tree(root_, visit, cancel_));
    std::ranges::sort(packages_);
    packages_.erase(std::unique(packages_.begin(), packages_.end()), packages_.end());
    return std::move(packages_);
  }

 private:
  std::string read(const std::string& path, std::size_t limit) const {
    return read_regular_file_in_root(root_, path, limit).value_or("");
  }
  static std::string unquoted(std::string text) {
    std::erase(text, '"');
    return text;
  }
  void add(Package package) {
    if (!package.name.empty() && packages_.size() < kMaxPackages) packages_.push_back(std::move(package));
  }

  void debian(const std::string& status, const std::string& found_in) {
    paragraphs(status, ':', [&](auto& fields) {
      // What was removed may still have its configuration files. Distroless images have no Status.
      const std::string& state = fields["Status"];
      if (!state.empty() && !state.ends_with(" installed")) return;
      add({"deb", fields["Package"], fields["Version"], fields["Architecture"], "", distribution_, found_in});
    });
  }

  void look_at(const std::string& path, FdRef file) {
    const bool python = path.ends_with(".dist-info/METADATA") || path.ends_with(".egg-info/PKG-INFO");
    const bool npm = path.ends_with("/package.json") && in_node_modules(path);
    const bool distroless = path.starts_with("var/lib/dpkg/status.d/") && !path.ends_with(".md5sums");
    if (!python && !npm && !distroless) return;
    const auto text = read_all(file, kMaxMetadata);
    if (!text) return;
    if (distroless) {
      debian(*text, "/" + path);
    } else if (python) {
      bool first = true;  // the headers end at the first empty line
      paragraphs(*text, ':', [&](auto& fields) {
        if (std::exchange(first, false))
          add({"pypi", fields["Name"], fields["Version"], "", fields["License"], "", "/" + path});
      });
    } else if (auto package = parse_package_json(*text)) {
      package->found_in = "/" + path;
      add(*std::move(package));
    }
  }

  /// node_modules/NAME/package.json or node_modules/@SCOPE/NAME/package.json, not a file deeper in a package.
  static bool in_node_modules(const std::string& path) {
    const std::size_t at = path.rfind("node_modules/");
    if (at == std::string::npos || (at > 0 && path[at - 1] != '/')) return false;
    const std::string rest = path.substr(at + 13);
    return std::ranges::count(rest, '/') == (rest.starts_with('@') ? 2 : 1);
  }

  FdRef root_;
  const CancelToken& cancel_;
  std::string distribution_;
  std::vector<Package> packages_;
};

}  // namespace

Result<std::vector<Package>> find_packages(FdRef root, const CancelToken& cancel) { return Finder(root, cancel).run(); }

}  // namespace dray::builder
