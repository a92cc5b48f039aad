// SPDX-License-Identifier: Apache-2.0
// Directory by directory: each layer that takes part in one is asked for its names, from the top down. The first layer
// that has a name decides what it is; a directory is joined by those of the layers below, until one has something else
// under that name, a whiteout for it, or hides all below. A list of directories and no recursion, by paths beneath
// descriptors and without links: however deep and hostile the layers are, it costs neither stack nor descriptors.
#include "merge_layers.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <map>

#include <dray/core/rooted_path.hpp>

#include "layer_format.hpp"

namespace dray::store {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY;

class Merge {
 public:
  Merge(const Stack& stack, FdRef target, EntryCopier::Files files, const CancelToken& cancel)
      : target_(target), copier_(target, files, cancel) {
    for (const Stack::Layer& layer : stack.layers) paths_.push_back(layer.path);
  }

  Result<void> run() {
    Directory root;
    for (const std::string& path : paths_) {
      roots_.push_back(TRY_CTX(open_file(path, O_PATH | O_DIRECTORY), "opening a layer"));
      root.layers.push_back(roots_.size() - 1);
    }
    if (roots_.empty()) return {};
    directories_.push_back(std::move(root));
    for (std::size_t i = 0; i < directories_.size(); ++i) {
      const Directory directory = directories_[i];  // the list grows
      TRY_CTX(fill(directory), "\"/" + directory.path.substr(0, 200) + "\"");
    }
    // Last, and from the inside out: what is made in a directory changes its times.
    for (auto made = directories_.rbegin(); made != directories_.rend(); ++made) {
      const FileDescriptor source = TRY(open_without_links(roots_[made->layers.front()], made->path, kDirectory));
      const FileDescriptor target = TRY(open_without_links(target_, made->path, kDirectory));
      struct stat status;
      if (::fstat(source.get(), &status) != 0) return fail_errno("reading the status of \"/" + made->path + "\"");
      TRY_CTX(copy_attributes(source, target, status), "\"/" + made->path.substr(0, 200) + "\"");
    }
    return {};
  }

 private:
  struct Directory {
    std::string path;
    std::vector<std::size_t> layers;  ///< that have it, topmost first
  };
  struct Name {
    std::vector<std::size_t> layers;  ///< one for a file, all that are joined for a directory
    struct stat status = {};          ///< in the first of them
    bool is_closed = false;           ///< the layers below have no say any more
  };
  using Names = std::map<std::string, Name>;

  /// Returns whether the layer's directory hides all below.
  static Result<bool> read(FdRef directory, std::size_t layer, Names& names) {
    std::vector<std::string> gone;
    for (std::string& name : TRY(list_directory(directory))) {
      if (name.starts_with(kWhiteoutPrefix)) {
        gone.push_back(std::move(name));
        continue;
      }
      struct stat status;
      if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_errno("reading the status of \"" + name + "\"");
      Name& known = names[name];
      if (known.is_closed) continue;
      const bool is_first = known.layers.empty(), is_directory = S_ISDIR(status.st_mode);
      if (is_first) known.status = status;
      if (is_first || is_directory) known.layers.push_back(layer);
      known.is_closed = !is_directory;
    }
    // Afterwards, as a whiteout says nothing about its own layer's entry.
    bool is_opaque = false;
    for (const std::string& marker : gone) {
      if (marker == kOpaqueMarker) {
        is_opaque = true;
      } else {
        names[TRY(plainly_hidden(directory, marker))].is_closed = true;
      }
    }
    return is_opaque;
  }

  Result<void> fill(const Directory& directory) {
    Names names;
    for (const std::size_t layer : directory.layers) {
      const FileDescriptor source = TRY(open_without_links(roots_[layer], directory.path, kDirectory));
      if (TRY(read(source, layer, names))) break;
    }
    const FileDescriptor target = TRY(open_without_links(target_, directory.path, kDirectory));
    std::map<std::size_t, std::vector<const Names::value_type*>> files;
    for (const Names::value_type& entry : names) {
      const auto& [name, found] = entry;
      if (found.layers.empty()) continue;  // a whiteout of it is all there is
      if (!S_ISDIR(found.status.st_mode)) {
        files[found.layers.front()].push_back(&entry);
        continue;
      }
      if (::mkdirat(target.get(), name.c_str(), 0700) != 0) return fail_errno("creating directory \"" + name + "\"");
      directories_.push_back({path_of(directory, name), found.layers});
    }
    for (const auto& [layer, entries] : files) {
      const FileDescriptor source = TRY(open_without_links(roots_[layer], directory.path, kDirectory));
      for (const auto* entry : entries)
        TRY_CTX(copier_.add(source, entry->first, entry->second.status, target, path_of(directory, entry->first)),
                "\"" + entry->first + "\"");
    }
    return {};
  }

  static std::string path_of(const Directory& directory, const std::string& name) {
    return directory.path.empty() ? name : directory.path + "/" + name;
  }

  std::vector<std::string> paths_;
  std::vector<FileDescriptor> roots_;
  FdRef target_;
  EntryCopier copier_;
  std::vector<Directory> directories_;  ///< a directory comes before those in it
};

}  // namespace

Result<void> merge_layers(const Stack& stack, FdRef target, EntryCopier::Files files, const CancelToken& cancel) {
  return Merge(stack, target, files, cancel).run();
}

}  // namespace dray::store
