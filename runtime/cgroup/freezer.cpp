// SPDX-License-Identifier: Apache-2.0
// Stopping all processes of a cgroup at once. v1 has a controller for it, v2 can do it in every cgroup; a hybrid host
// without v1's controller uses v2's, if the processes are in it.

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>

#include <cerrno>

#include "hierarchy.hpp"

namespace dray::runtime {
namespace {

using cgroup::Hierarchy;
using cgroup::Place;

constexpr int kTries = 1000;
constexpr int kFreezeTimeoutMs = 5000;

/// The hierarchy that freezes, or nullptr.
const Hierarchy* find_freezer(const Place& place) {
  const Hierarchy* v1 = place.find("freezer");
  return v1 != nullptr ? v1 : place.unified();
}

Result<FileDescriptor> open_freezer(const std::string& cgroups_path, bool& unified) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  const Hierarchy* freezer = find_freezer(place);
  if (freezer == nullptr)
    return fail(ErrorCode::unsupported, "cgroup controller \"freezer\" is not available on this host");
  unified = freezer->unified;
  return cgroup::open_leaf(*freezer, place.path);
}

/// A process that forks while it is frozen leaves the state at FREEZING; writing again catches its child, thawing for a
/// moment helps where that doesn't. The numbers are runc's.
Result<void> freeze_v1(FdRef leaf) {
  for (int i = 0; i < kTries; ++i) {
    if (i % 50 == 49) {
      (void)cgroup::write_value(leaf, "freezer.state", "THAWED");
      usleep(10'000);
    }
    TRY(cgroup::write_value(leaf, "freezer.state", "FROZEN"));
    if (i % 25 == 24) usleep(10);
    const std::string state = TRY(cgroup::read_value(leaf, "freezer.state"));
    if (state == "FROZEN") return {};
  }
  return fail(ErrorCode::unavailable, "unable to freeze the cgroup: its processes do not stop");
}

Result<void> freeze_v2(FdRef leaf) {
  TRY(cgroup::write_value(leaf, "cgroup.freeze", "1"));
  const FileDescriptor events = TRY(open_file_at(leaf, "cgroup.events", O_RDONLY));
  timespec start = {};
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (;;) {
    if (lseek(events.get(), 0, SEEK_SET) != 0) return fail_errno("reading cgroup.events");
    const std::string text = TRY(read_all(events, 4096));
    if (text.find("frozen 1") != std::string::npos) return {};
    timespec now = {};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const long left = kFreezeTimeoutMs - (now.tv_sec - start.tv_sec) * 1000 - (now.tv_nsec - start.tv_nsec) / 1'000'000;
    if (left <= 0) return fail(ErrorCode::unavailable, "unable to freeze the cgroup: its processes do not stop");
    struct pollfd waiting{events.get(), POLLPRI, 0};
    if (poll(&waiting, 1, static_cast<int>(left)) < 0 && errno != EINTR) return fail_errno("waiting for cgroup.events");
  }
}

}  // namespace

Result<void> freeze_cgroup(const std::string& cgroups_path) {
  bool unified = false;
  const FileDescriptor leaf = TRY(open_freezer(cgroups_path, unified));
  Result<void> frozen = unified ? freeze_v2(leaf) : freeze_v1(leaf);
  if (frozen) return {};
  // Half frozen is worse than running.
  Error error = std::move(frozen).error();
  auto thawed = cgroup::write_value(leaf, unified ? "cgroup.freeze" : "freezer.state", unified ? "0" : "THAWED");
  if (!thawed) error = std::move(error).with_cleanup_failure(thawed.error());
  return Failure(std::move(error));
}

Result<void> thaw_cgroup(const std::string& cgroups_path) {
  bool unified = false;
  const FileDescriptor leaf = TRY(open_freezer(cgroups_path, unified));
  return cgroup::write_value(leaf, unified ? "cgroup.freeze" : "freezer.state", unified ? "0" : "THAWED");
}

Result<bool> is_cgroup_frozen(const std::string& cgroups_path) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  const Hierarchy* freezer = find_freezer(place);
  if (freezer == nullptr) return false;
  auto leaf = cgroup::open_leaf(*freezer, place.path);
  // Self: what was asked of this very cgroup, whatever the parent's state is.
  auto text = leaf ? cgroup::read_value(*leaf, freezer->unified ? "cgroup.freeze" : "freezer.self_freezing")
                   : Result<std::string>(Failure(leaf.error()));
  if (text) return *text == "1";
  const int number = text.error().error_number();
  if (number == ENOENT || number == ENODEV) return false;
  return Failure(std::move(text).error());
}

}  // namespace dray::runtime
