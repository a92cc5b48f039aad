// SPDX-License-Identifier: Apache-2.0
#pragma once

// Plans made by hand and solved in a store of their own, with an executor that is a function.
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include <dray/builder/cache.hpp>
#include <dray/builder/cache_mounts.hpp>
#include <dray/core/rooted_path.hpp>

#include "catch.hpp"
#include "mounts/bind.hpp"
#include "mounts/held_lock.hpp"
#include "mounts/secrets.hpp"
#include "mounts/ssh_proxy.hpp"
#include "solve/solver.hpp"

namespace dray::builder {

struct Silence : ProgressSink {
  void report(const ProgressEvent& event) override {
    if (event.kind == ProgressEvent::Kind::cached) ++cached;
  }
  std::atomic<int> cached = 0;
};

/// Each RUN is a function that gets the request.
struct Inside : Executor {
  Result<ExitStatus> run(const RunRequest& request, const std::function<void(std::string_view, bool)>&,
                         const CancelToken&) override {
    ++runs;
    const FileDescriptor root = TRY(store::open_mount(request.rootfs));
    if (act) act(request, root);
    return ExitStatus{};
  }
  std::function<void(const RunRequest&, FdRef root)> act;
  std::atomic<int> runs = 0;
};

/// A build without base images.
class NoImages : public ImageSource {
 public:
  Result<store::LoadedImage> resolve(const Reference&, const image::Platform&, bool, ProgressSink&,
                                     const CancelToken&) override {
    return fail(ErrorCode::not_found, "no such image");
  }
};

struct Place {
  TempDir directory = *TempDir::create("/var/tmp", "dray-mounts-test-");
  std::shared_ptr<store::Store> store = *store::Store::open(directory.path() + "/root");
  std::string context = directory.path() + "/context";
  FileDescriptor opened;
  IgnorePatterns ignore;
  Inside executor;
  NoImages images;
  Silence progress;
  CancelToken cancel;
  BuildRequest build;

  void put(const std::string& path, const std::string& content, unsigned mode = 0644) {
    const std::string full = context + "/" + path;
    REQUIRE_OK(make_directories(full.substr(0, full.rfind('/'))));
    REQUIRE_OK(write_file_atomically(full, content, mode, Durability::none));
  }
  SourceTree tree() {
    if (!opened.valid()) opened = *open_file(context, O_RDONLY | O_DIRECTORY);
    return {.root = opened, .is_context = true, .ignore = &ignore};
  }
  /// FROM scratch, the context as vertex 1, then `ops`, each standing on the one before and reading the context.
  Plan plan(std::vector<Op> ops) {
    Plan made;
    made.vertices.push_back({.id = 0, .op = SourceOp{}});
    made.vertices.push_back({.id = 1, .op = LocalOp{}});
    int below = 0;
    for (Op& op : ops) {
      const int id = static_cast<int>(made.vertices.size());
      made.vertices.push_back({.id = id, .op = std::move(op), .inputs = {below, 1}, .title = "step"});
      below = id;
    }
    made.result = below;
    return made;
  }
  Result<std::vector<StepResult>> solve(const Plan& made) {
    const std::map<std::string, SourceTree> locals = {{"context", tree()}};
    std::map<int, CopyContent> contents;
    std::map<std::pair<int, std::size_t>, CopyContent> mounted;
    for (const Vertex& vertex : made.vertices) {
      if (const auto* copy = std::get_if<CopyOp>(&vertex.op))
        contents[vertex.id] = TRY(read_copy_content(tree(), *copy, 1, nullptr, cancel));
      const auto* run = std::get_if<RunOp>(&vertex.op);
      for (std::size_t i = 0; run != nullptr && i < run->mounts.size(); ++i)
        if (run->mounts[i].input == 1)
          mounted[{vertex.id, i}] = TRY(read_mount_content(tree(), run->mounts[i].source, nullptr, cancel));
    }
    Secrets secrets(build.secrets);
    const SolveRequest request{.store = *store,
                               .executor = executor,
                               .images = images,
                               .locals = locals,
                               .contents = contents,
                               .mounted = mounted,
                               .secrets = secrets,
                               .build = build,
                               .base_layers = {}};
    return builder::solve(made, request, progress, cancel);
  }
};

inline std::string read_in(FdRef root, const std::string& path) {
  const auto text = read_regular_file_in_root(root, path, 1 << 20);
  return text ? *text : "<" + text.error().message() + ">";
}

inline bool write_in(FdRef root, const std::string& path, const std::string& text) {
  const auto file = open_in_root(root, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  return file && write_all(*file, text);
}

inline RunOp run_with(std::vector<RunMount> mounts) {
  RunOp run;
  run.args = {"x"};
  run.mounts = std::move(mounts);
  return run;
}

inline CopyOp copy_of(const std::string& from, const std::string& to) {
  CopyOp copy;
  copy.paths = {from};
  copy.destination = to;
  return copy;
}

inline std::size_t entries(const std::string& path) {
  std::size_t count = 0;
  DIR* listing = ::opendir(path.c_str());
  while (listing != nullptr && ::readdir(listing) != nullptr) ++count;
  if (listing != nullptr) ::closedir(listing);
  return count < 2 ? 0 : count - 2;
}

inline bool can_mount() { return ::geteuid() == 0; }

}  // namespace dray::builder

#define NEEDS_ROOT()             \
  if (!can_mount()) {            \
    WARN("skipped: needs root"); \
    return;                      \
  }
