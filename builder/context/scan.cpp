// SPDX-License-Identifier: Apache-2.0
// Walks a source of COPY: wildcards are resolved component by component, ignored files are left out, and an
// excluded directory is kept only if an exception brings back something below it. Directories are opened one
// component at a time without following links, so a context that changes meanwhile leads nowhere else.
#include "context/scan.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include <dray/core/rooted_path.hpp>

namespace dray::builder {
namespace {

constexpr std::size_t kMaxDepth = 1000;

std::string below(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

Result<std::string> read_link(FdRef directory, const std::string& name) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlinkat(directory.get(), name.c_str(), target.data(), target.size());
  if (length < 0) return fail_errno("reading the link \"" + name + "\"");
  target.resize(static_cast<std::size_t>(length));
  return target;
}

/// A layer cannot hold a socket. One of the user's directory becomes an empty file, as in BuildKit.
bool is_left_out(const SourceTree& tree, const FileStatus& status) {
  return S_ISSOCK(status.st_mode) && !tree.is_context;
}

class Walker {
 public:
  Walker(const SourceTree& tree, const IgnorePatterns& exclude, const CancelToken& cancel)
      : tree_(tree), exclude_(exclude), cancel_(cancel) {}

  /// Everything in the open directory; `full` is its path in the tree, `path` that in the source.
  Result<void> walk(FdRef directory, const std::string& full, const std::string& path, std::deque<TreeEntry>& entries,
                    std::size_t depth = 0) {
    TRY(cancel_.check());
    if (depth > kMaxDepth) return fail(ErrorCode::invalid_argument, "directories too deep: \"" + full + "\"");
    const std::vector<std::string> names = TRY(list_directory(directory));
    for (const std::string& name : names) {
      const std::string child_full = below(full, name), child = below(path, name);
      TreeEntry entry;
      entry.path = child;
      struct stat status;
      if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;
        return fail_errno("reading \"" + child_full + "\"");
      }
      entry.status = FileStatus(status);
      if (tree_.progress != nullptr) tree_.progress->listed();
      const bool hidden = (tree_.ignore != nullptr && tree_.ignore->excluded(child_full)) ||
                          (!exclude_.empty() && exclude_.excluded(child));
      if (S_ISDIR(entry.status.st_mode)) {
        if (hidden && !(tree_.ignore != nullptr && tree_.ignore->may_reinclude(child_full)) &&
            !exclude_.may_reinclude(child))
          continue;
        const std::size_t mark = entries.size();
        entries.push_back(std::move(entry));
        const FileDescriptor next = TRY(open_file_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        TRY(walk(next, child_full, child, entries, depth + 1));
        if (hidden && entries.size() == mark + 1) entries.resize(mark);
        continue;
      }
      if (hidden || is_left_out(tree_, entry.status)) continue;
      if (S_ISLNK(entry.status.st_mode)) entry.link_target = TRY(read_link(directory, name));
      entries.push_back(std::move(entry));
    }
    return {};
  }

 private:
  const SourceTree& tree_;
  const IgnorePatterns& exclude_;
  const CancelToken& cancel_;
};

int line_of(const IgnorePatterns::Match& found) { return found.excluded ? found.line : 0; }

/// `hidden`: the line of .dockerignore that hides it, or 0.
Failure missing(const SourceTree& tree, const std::string& path, int hidden) {
  Error error(ErrorCode::not_found, "failed to compute cache key: \"" + path + "\": not found");
  if (hidden > 0)
    error = std::move(error).with_hint("excluded by " + tree.ignore->file() + ":" + std::to_string(hidden));
  return Failure(std::move(error));
}

Result<std::string> host_path(FdRef fd) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlink(descriptor_path(fd).c_str(), target.data(), target.size());
  if (length < 0) return fail_errno("reading /proc/self/fd");
  target.resize(static_cast<std::size_t>(length));
  return target;
}

/// Where an open file of a context is in it ("src/a", "" for the root): not as it was named, but with links
/// followed, since a link must not bring in what .dockerignore hides. nullopt: nowhere (any more).
Result<std::optional<std::string>> path_in_tree(const SourceTree& tree, FdRef file) {
  std::string root = TRY(host_path(tree.root));
  const std::string path = TRY(host_path(file));
  if (path == root) return std::optional<std::string>("");
  if (!root.ends_with('/')) root += '/';
  if (!path.starts_with(root)) return std::optional<std::string>();
  return std::optional<std::string>(path.substr(root.size()));
}

bool means_missing(const Error& error) {
  const int number = error.error_number();
  return error.code() == ErrorCode::not_found || number == ENOENT || number == ENOTDIR || number == ELOOP ||
         number == EXDEV;
}

/// nullopt: not there, or hidden; `hidden` then tells by which line of .dockerignore (0: not there).
Result<std::optional<Source>> read_source(const SourceTree& tree, const std::string& path,
                                          const IgnorePatterns& exclude, const CancelToken& cancel, int& hidden) {
  hidden = tree.ignore != nullptr && path != "/" ? line_of(tree.ignore->match(path.substr(1))) : 0;
  const auto opened = tree.open(path, O_PATH);
  if (!opened) {
    if (means_missing(opened.error())) return std::nullopt;
    return Failure(opened.error());
  }
  Source source;
  source.path = path;
  std::string full = path.substr(1);
  IgnorePatterns::Match match;
  if (tree.ignore != nullptr && !tree.ignore->empty() && path != "/") {
    const std::optional<std::string> found = TRY(path_in_tree(tree, *opened));
    if (!found) return std::nullopt;
    full = *found;
    if (!full.empty()) match = tree.ignore->match(full);
    hidden = line_of(match);
    if (match.excluded && !tree.ignore->may_reinclude(full)) return std::nullopt;
  }
  struct stat status;
  if (::fstatat(opened->get(), "", &status, AT_EMPTY_PATH) != 0) return fail_errno("reading \"" + path + "\"");
  TreeEntry top;
  top.status = FileStatus(status);
  const bool is_directory = S_ISDIR(top.status.st_mode);
  if (!is_directory && (match.excluded || is_left_out(tree, top.status))) return std::nullopt;
  source.entries.push_back(std::move(top));
  if (is_directory) {
    Walker walker(tree, exclude, cancel);
    TRY(walker.walk(*opened, full, "", source.entries));
    if (match.excluded && source.entries.size() == 1) return std::nullopt;
  }
  return source;
}

/// As filepath.Match sees it; a backslash alone makes no wildcard, and is then part of the name.
bool has_wildcard(const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;
    else if (text[i] == '*' || text[i] == '?' || text[i] == '[')
      return true;
  }
  return false;
}

std::vector<std::string> components(const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t begin = 1; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (end > begin) parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// One component of a pattern. Wildcards don't match "/", so a path is matched name by name.
Result<IgnorePatterns> name_pattern(const std::string& part) {
  // A leading "!" would be an exception in a list of patterns; here it is a character.
  return IgnorePatterns::from_list({part.front() == '!' ? "\\" + part : part});
}

/// The paths that a path with wildcards names, or itself. Links are followed up to the first wildcard, and in what it
/// names in the end, but not on the way between.
Result<std::vector<std::string>> expand(const SourceTree& tree, const std::string& path) {
  if (!has_wildcard(path)) return std::vector<std::string>{path};
  std::vector<std::string> found = {""};
  bool wild = false;
  for (const std::string& part : components(path)) {
    std::vector<std::string> next;
    if (!wild && !has_wildcard(part)) {
      found.front() += "/" + part;
      continue;
    }
    const IgnorePatterns pattern = TRY(name_pattern(part));
    for (const std::string& directory : found) {
      const auto opened =
          tree.open(directory.empty() ? "/" : directory, O_RDONLY | O_DIRECTORY | (wild ? O_NOFOLLOW : 0));
      if (!opened) continue;
      const std::vector<std::string> names = TRY(list_directory(*opened));
      for (const std::string& name : names)
        if (pattern.excluded(name)) next.push_back(directory + "/" + name);
    }
    wild = true;
    found = std::move(next);
  }
  return found;
}

/// --parents: the directory `base` with nothing in it but what `pattern` names, and the directories that lead there.
Result<std::optional<Source>> read_with_parents(const SourceTree& tree, const std::string& base,
                                                const std::string& pattern, const std::vector<std::string>& exclude,
                                                const CancelToken& cancel, int& hidden) {
  // What is not named is excluded: so the walk, which skips directories without exceptions, goes only where it must.
  std::vector<std::string> patterns = {"**", "!" + pattern};
  patterns.insert(patterns.end(), exclude.begin(), exclude.end());
  std::optional<Source> source = TRY(read_source(tree, base, TRY(IgnorePatterns::from_list(patterns)), cancel, hidden));
  if (source && (!source->is_directory() || source->entries.size() == 1)) return std::nullopt;
  return source;
}

}  // namespace

Result<FileDescriptor> SourceTree::open(const std::string& path, int flags) const {
  return open_in_root(root, path, flags);
}

Result<std::vector<Source>> find_sources(const SourceTree& tree, const std::string& path, const IgnorePatterns& exclude,
                                         const CancelToken& cancel) {
  const bool literal = !has_wildcard(path);
  std::vector<Source> sources;
  const std::vector<std::string> found = TRY(expand(tree, path));
  for (const std::string& match : found) {
    const std::string name = split_path(match).second;
    if (!literal && !exclude.empty() && exclude.excluded(name) && !exclude.may_reinclude(name)) continue;
    int hidden = 0;
    std::optional<Source> source = TRY(read_source(tree, match, exclude, cancel, hidden));
    if (source) {
      sources.push_back(std::move(*source));
    } else if (literal || (hidden == 0 && tree.open(match, O_PATH | O_NOFOLLOW))) {  // or a link that leads nowhere
      return missing(tree, match, hidden);
    }
  }
  return sources;
}

/// COPY --parents: the directory before the pivot "/./" of `path` (the root, where it has none) with nothing but what
/// the rest names there, as a .dockerignore pattern ("**" is any path).
static Result<std::vector<Source>> find_sources_with_parents(const SourceTree& tree, const std::string& path,
                                                             const std::vector<std::string>& exclude,
                                                             const CancelToken& cancel) {
  const std::size_t dot = path.find("/./");
  const std::string pivot = dot == std::string::npos || dot == 0 ? "/" : path.substr(0, dot);
  std::string pattern = path.substr(dot == std::string::npos ? 1 : dot + 3);
  if (pattern.empty() || pattern == ".") pattern = "**";  // all of it
  const bool literal = !has_wildcard(path);
  std::vector<Source> sources;
  const std::vector<std::string> found = TRY(expand(tree, pivot));
  for (const std::string& match : found) {
    int hidden = 0;
    std::optional<Source> source = TRY(read_with_parents(tree, match, pattern, exclude, cancel, hidden));
    if (source) {
      sources.push_back(std::move(*source));
    } else if (literal) {
      const std::string wanted = (match == "/" ? "" : match) + "/" + pattern;
      if (hidden == 0 && tree.ignore != nullptr) hidden = line_of(tree.ignore->match(wanted.substr(1)));
      return missing(tree, wanted, hidden);
    }
  }
  return sources;
}

void ScanProgress::count(std::uint64_t& counter) {
  constexpr std::uint64_t kBatch = 256;  // files between looks at the clock
  if (++counter % kBatch != 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < interval_) return;
  last_ = now;
  report_(listed_, looked_at_);
}

FileStatus::FileStatus(const struct stat& status)
    : st_dev(status.st_dev),
      st_rdev(status.st_rdev),
      st_ino(status.st_ino),
      st_size(status.st_size),
      st_mtim(status.st_mtim),
      st_ctim(status.st_ctim),
      st_mode(status.st_mode),
      st_uid(status.st_uid),
      st_gid(status.st_gid),
      has_other_names(status.st_nlink > 1) {}

bool FileStatus::is_same_file(const FileStatus& other) const {
  const auto same = [](const timespec& x, const timespec& y) { return x.tv_sec == y.tv_sec && x.tv_nsec == y.tv_nsec; };
  return st_dev == other.st_dev && st_ino == other.st_ino && st_size == other.st_size && same(st_mtim, other.st_mtim) &&
         same(st_ctim, other.st_ctim);
}

bool is_unchanged(const SourceTree& tree, const Source& source) {
  const auto top = tree.open(source.path, O_PATH);
  if (!top) return false;
  return std::all_of(source.entries.begin(), source.entries.end(), [&](const TreeEntry& entry) {
    if (!S_ISREG(entry.status.st_mode)) return true;
    struct stat now = {};
    const int flags = AT_SYMLINK_NOFOLLOW | (entry.path.empty() ? AT_EMPTY_PATH : 0);
    return ::fstatat(top->get(), entry.path.c_str(), &now, flags) == 0 && entry.status.is_same_file(FileStatus(now));
  });
}

bool shows_the_same(const SourceTree& tree, const CopyContent& then, const CancelToken& cancel) {
  // Listed again, as a new file changes what a command sees, too. A directory's times say nothing of its own: they
  // change with a file in it that .dockerignore hides.
  const auto same = [](const TreeEntry& a, const TreeEntry& b) {
    return a.path == b.path && a.link_target == b.link_target && a.status.st_mode == b.status.st_mode &&
           (!S_ISREG(a.status.st_mode) || a.status.is_same_file(b.status));
  };
  return std::all_of(then.sources.begin(), then.sources.end(), [&](const Source& source) {
    int hidden = 0;
    const auto now = read_source(tree, source.path, IgnorePatterns(), cancel, hidden);
    return now && *now && std::ranges::equal((*now)->entries, source.entries, same);
  });
}

int input_of_path(const CopyOp& op, std::size_t path) {
  return path < op.path_inputs.size() ? op.path_inputs[path] : 1;
}

Result<CopyContent> read_copy_content(const SourceTree& tree, const CopyOp& op, int input, FileDigests* memory,
                                      const CancelToken& cancel) {
  const IgnorePatterns hidden = TRY(IgnorePatterns::from_list(op.exclude));
  CopyContent content;
  const auto find = [&](std::size_t i) -> Result<std::vector<Source>> {
    const std::string& path = op.paths[i];
    if (!tree.root.valid()) return missing(tree, path, 0);
    auto found = op.parents ? find_sources_with_parents(tree, path, op.exclude, cancel)
                            : find_sources(tree, path, hidden, cancel);
    if (!found && op.if_exists && found.error().code() == ErrorCode::not_found) return std::vector<Source>();
    return found;
  };
  for (std::size_t i = 0; i < op.paths.size(); ++i) {
    if (input_of_path(op, i) != input) continue;
    std::vector<Source> found = TRY(find(i));
    content.counts.push_back(found.size());
    for (Source& source : found) {
      std::string digest = TRY(digest_source(tree, source, memory, cancel));
      content.digests.push_back(std::move(digest));
      content.sources.push_back(std::move(source));
    }
  }
  return content;
}

Result<CopyContent> read_mount_content(const SourceTree& tree, const std::string& path, FileDigests* memory,
                                       const CancelToken& cancel) {
  if (!tree.root.valid() && path == "/") return CopyContent{};  // a bare Dockerfile has an empty context
  if (!tree.root.valid()) return missing(tree, path, 0);
  int hidden = 0;
  std::optional<Source> source = TRY(read_source(tree, path, IgnorePatterns(), cancel, hidden));
  if (!source) return missing(tree, path, hidden);
  CopyContent content;
  content.digests.push_back(TRY(digest_source(tree, *source, memory, cancel)));
  content.sources.push_back(std::move(*source));
  return content;
}

}  // namespace dray::builder
