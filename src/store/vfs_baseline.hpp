// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>
#include <time.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>

namespace dray::store {

// What an active snapshot of the vfs driver was when it was made: a file beside its tree, which a container cannot
// reach. One fact an entry, a directory followed by its entries (in the order of their names' bytes) and an end, so
// that it is written and compared with the tree as it is now in one pass, whatever the tree's size.

/// Which file a name stood for, and in which state. The kernel changes `changed` (ctime) with whatever is done to a
/// file, and nobody can put it back; `inode` (0: not to be relied on) and `born` tell a file from another that took its
/// place. A directory taken for the one that was there before costs nothing but a deletion for each of the names in it.
struct Fact {
  std::string name;
  bool is_directory = false;
  std::uint64_t inode = 0;
  struct timespec born = {}, changed = {}, modified = {};
  std::uint32_t mode = 0, uid = 0, gid = 0;

  /// Whether that is still the same file or directory, changed or not.
  bool is_same_file(const Fact& other) const;
  bool is_unchanged(const Fact& other) const;
};

/// An entry of a tree as it is now.
struct Seen {
  Fact fact;
  struct stat status = {};
};
/// The entries of a directory, sorted; `path` is beneath `root`, "" itself.
Result<std::vector<Seen>> look_at_directory(FdRef root, const std::string& path);
Result<Fact> fact_of_root(FdRef root);

/// Writes the facts of the tree `root` to the new file `name` in `directory`. Returns when every later change of a file
/// has a later time than these.
Result<void> write_baseline(FdRef root, FdRef directory, const std::string& name);

/// Reads them in their order.
class BaselineReader {
 public:
  static Result<BaselineReader> open(const std::string& path);
  const Fact& root() const { return root_; }

  /// The next entry of the directory we are in, not yet taken; nullptr at its end.
  Result<const Fact*> peek();
  /// Goes on behind it; behind a directory: to its first entry.
  void take() { has_next_ = false; }
  /// Out of the directory we are in, whatever is left of it.
  Result<void> leave();

 private:
  Result<void> read_bytes(void* target, std::size_t size);
  Result<bool> read_fact(Fact& fact);
  FileDescriptor file_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  Fact root_, next_;
  bool has_next_ = false, at_end_ = false;
};

}  // namespace dray::store
