// SPDX-License-Identifier: Apache-2.0
// Two sorted lists of names a directory, one of then and one of now, are gone through side by side. A directory that
// did not change itself is reported only when something in it is.
#include "vfs_changes.hpp"

#include "vfs_baseline.hpp"

namespace dray::store {
namespace {

class Comparison {
 public:
  Comparison(FdRef root, BaselineReader then, const ChangeVisitor& visit)
      : root_(root), then_(std::move(then)), visit_(visit) {}

  Result<void> run() {
    Change change;
    change.kind = Change::Kind::root;
    if (::fstat(root_.get(), &change.status) != 0) return fail_errno("reading the root of a snapshot");
    const Fact& old = then_.root();
    change.is_changed =
        old.mode != change.status.st_mode || old.uid != change.status.st_uid || old.gid != change.status.st_gid;
    change.before = old.modified;
    TRY(visit_(change));
    return known_directory("");
  }

 private:
  /// One that was there then, with `then_` at its first entry. Leaves `then_` behind it.
  Result<void> known_directory(const std::string& path) {
    const std::vector<Seen> entries = TRY(look_at_directory(root_, path));
    for (const Seen& seen : entries) {
      TRY(report_gone_before(path, seen.fact.name));
      const Fact* old = TRY(then_.peek());
      if (old == nullptr || old->name != seen.fact.name) {
        TRY(report(join(path, seen.fact.name), seen));
      } else {
        TRY(known_entry(join(path, seen.fact.name), seen));
      }
    }
    TRY(report_gone_before(path, {}));
    return then_.leave();
  }

  /// Entries of then up to `name` ("" = all that are left).
  Result<void> report_gone_before(const std::string& path, const std::string& name) {
    for (const Fact* old; (old = TRY(then_.peek())) != nullptr && (name.empty() || old->name < name);) {
      Change gone;
      gone.kind = Change::Kind::gone;
      gone.path = join(path, old->name);
      TRY(report_way());
      TRY(visit_(gone));
      TRY(skip(*old));
    }
    return {};
  }

  Result<void> skip(const Fact& old) {
    const bool is_directory = old.is_directory;
    then_.take();
    return is_directory ? then_.leave() : Result<void>();
  }

  /// `then_` is at the entry of that name.
  Result<void> known_entry(const std::string& path, const Seen& seen) {
    const Fact old = *TRY(then_.peek());
    Change change;
    change.path = path;
    change.status = seen.status;
    if (old.is_directory) change.before = old.modified;
    if (!seen.fact.is_directory || !old.is_same_file(seen.fact)) {
      // Another one in its place hides it, and so does what overlayfs makes of it.
      change.is_opaque = seen.fact.is_directory;
      TRY(skip(old));
      return old.is_unchanged(seen.fact) ? Result<void>() : report_all(change);
    }
    then_.take();
    way_.push_back(std::move(change));
    if (!old.is_unchanged(seen.fact)) TRY(report_way());
    TRY(known_directory(path));
    way_.pop_back();
    reported_ = std::min(reported_, way_.size());
    return {};
  }

  Result<void> report(const std::string& path, const Seen& seen) {
    Change change;
    change.path = path;
    change.status = seen.status;
    return report_all(change);
  }

  /// With all that is in it.
  Result<void> report_all(const Change& change) {
    TRY(report_way());
    TRY(visit_(change));
    if (!S_ISDIR(change.status.st_mode)) return {};
    for (const Seen& seen : TRY(look_at_directory(root_, change.path)))
      TRY(report(join(change.path, seen.fact.name), seen));
    return {};
  }

  /// The directories we are in, as far as they were not reported yet.
  Result<void> report_way() {
    while (reported_ < way_.size()) TRY(visit_(way_[reported_++]));
    return {};
  }

  static std::string join(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
  }

  FdRef root_;
  BaselineReader then_;
  const ChangeVisitor& visit_;
  std::vector<Change> way_;
  std::size_t reported_ = 0;
};

}  // namespace

Result<void> walk_changes(FdRef root, const std::string& baseline, const ChangeVisitor& visit) {
  return Comparison(root, TRY(BaselineReader::open(baseline)), visit).run();
}

}  // namespace dray::store
