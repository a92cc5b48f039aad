// SPDX-License-Identifier: Apache-2.0
// What the kernel's OOM killer did in a cgroup: its count, and its events as a descriptor for poll. v1 signals an
// eventfd that was registered in cgroup.event_control; v2 modifies memory.events, which inotify sees.

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "cgroup.hpp"
#include "hierarchy.hpp"

namespace dray::runtime {
namespace {

using cgroup::Hierarchy;
using cgroup::Place;

Result<const Hierarchy*> find_memory(const Place& place) {
  const Hierarchy* memory = place.is_unified() ? &place.all->front() : place.find("memory");
  if (memory == nullptr) return fail(ErrorCode::not_found, "no memory controller");
  return memory;
}

/// The number behind "<key> " at a line's beginning, 0 without.
std::uint64_t count_of(std::string_view text, const std::string& key) {
  std::size_t at = text.starts_with(key + " ") ? 0 : text.find("\n" + key + " ");
  if (at == std::string_view::npos) return 0;
  std::size_t digits = text.find(' ', at) + 1;
  std::uint64_t count = 0;
  std::from_chars(text.data() + digits, text.data() + text.size(), count);
  return count;
}

std::uint64_t read_count(FdRef directory, const char* file, const std::string& key) {
  auto text = cgroup::read_value(directory, file);
  return text ? count_of(*text, key) : 0;
}

Result<FileDescriptor> register_v1(FdRef directory) {
  FileDescriptor event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return fail_errno("making an eventfd");
  // The kernel keeps its own reference to what it reports on.
  const FileDescriptor control = TRY(open_file_at(directory, "memory.oom_control", O_RDONLY));
  TRY(cgroup::write_value(directory, "cgroup.event_control",
                          std::to_string(event.get()) + " " + std::to_string(control.get())));
  return event;
}

Result<FileDescriptor> watch_v2(const std::string& path) {
  FileDescriptor watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch.valid()) return fail_errno("making an inotify descriptor");
  for (const char* file : {"/memory.events", "/cgroup.events"})
    if (inotify_add_watch(watch.get(), (path + file).c_str(), IN_MODIFY | IN_DELETE_SELF) < 0)
      return fail_errno(std::string("watching the cgroup's ") + (file + 1));
  return watch;
}

}  // namespace

Result<FileDescriptor> open_oom_file(const std::string& cgroups_path) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  const Hierarchy* memory = TRY(find_memory(place));
  const FileDescriptor root = TRY(cgroup::open_root(*memory));
  return open_file_at(root, place.path + (memory->unified ? "/memory.events" : "/memory.oom_control"), O_RDONLY);
}

bool oom_killed(const std::string& cgroups_path) {
  auto file = open_oom_file(cgroups_path);
  if (!file) return false;
  auto text = read_all(*file, 64 * 1024);
  return text && count_of(*text, "oom_kill") > 0;
}

Result<OomEvents> OomEvents::open(const std::string& cgroups_path) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  const Hierarchy* memory = TRY(find_memory(place));
  OomEvents events;
  events.unified_ = memory->unified;
  events.directory_ = TRY(cgroup::open_leaf(*memory, place.path));
  if (memory->unified)
    events.fd_ = TRY(watch_v2(memory->mount_point + "/" + place.path));
  else
    events.fd_ = TRY(register_v1(events.directory_));
  // Counted from here on: what happened before is no news.
  events.kills_ = read_count(events.directory_, "memory.events", "oom_kill");
  return events;
}

Result<OomEvents::News> OomEvents::take() {
  News news;
  alignas(inotify_event) char buffer[4096];
  bool any = false;
  for (;;) {
    const ssize_t size = ::read(fd_.get(), buffer, sizeof(buffer));
    if (size > 0) any = true;
    if (size > 0 && unified_) continue;
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno != EAGAIN) return fail_errno("reading the cgroup's out-of-memory events");
    break;
  }
  // An open descriptor of a removed directory finds nothing any more. v1's eventfd is signalled then, too.
  news.gone = !cgroup::file_exists(directory_, unified_ ? "cgroup.events" : "cgroup.procs");
  if (!unified_) {
    news.oom = any && !news.gone;
    return news;
  }
  const std::uint64_t kills = read_count(directory_, "memory.events", "oom_kill");
  news.oom = kills > kills_;
  if (news.oom) kills_ = kills;
  if (any && !news.gone) {
    auto text = cgroup::read_value(directory_, "cgroup.events");
    news.gone = !text || text->find("populated 0") != std::string::npos;
  }
  return news;
}

}  // namespace dray::runtime
