// SPDX-License-Identifier: Apache-2.0
// Mounts are opened in the order of their targets, so that one below another comes after it. Caches first, in the order
// of their ids: two steps that want the same two caches for themselves must not each wait with one in its hand.
#include "solve/run_mounts.hpp"

#include <fcntl.h>
#include <sys/mount.h>

#include <algorithm>

#include <dray/core/copy_directory.hpp>
#include <dray/core/detached_mount.hpp>
#include <dray/core/rooted_path.hpp>

#include "mounts/secrets.hpp"

namespace dray::builder {
namespace {

constexpr std::uint32_t kCacheMode = 0755, kSecretMode = 0400, kSocketMode = 0600, kScriptMode = 0755;

/// What a cache mount with from= starts with.
std::string origin_of(const StepResult& input) {
  std::string text = input.local;
  for (const DiffId& layer : input.layers) text += (text.empty() ? "" : " ") + layer.digest.to_string();
  return Digest::of(text).hex();
}

CacheMountWish wish_of(const RunMount& mount, const StepResult* input) {
  CacheMountWish wish;
  wish.id = mount.id;
  if (input != nullptr) wish.origin = origin_of(*input);
  wish.mode = mount.mode.value_or(kCacheMode);
  wish.uid = mount.uid;
  wish.gid = mount.gid;
  if (mount.sharing == RunMount::Sharing::private_copy) wish.sharing = CacheMountWish::Sharing::private_copy;
  if (mount.sharing == RunMount::Sharing::locked) wish.sharing = CacheMountWish::Sharing::locked;
  return wish;
}

}  // namespace

Result<void> RunMounts::open(const RunOp& op, const std::vector<const StepResult*>& inputs) {
  TRY(open_caches(op, inputs));
  for (const RunMount& mount : op.mounts) TRY(add(mount, inputs));
  if (!op.script.empty()) {
    StepMount script{.target = op.args.back()};
    script.tree = TRY(make_memory_file(op.script, kScriptMode, 0, 0, true));
    mounts_.push_back(std::move(script));
  }
  std::stable_sort(mounts_.begin(), mounts_.end(),
                   [](const StepMount& a, const StepMount& b) { return a.target < b.target; });
  return {};
}

Result<void> RunMounts::add(const RunMount& mount, const std::vector<const StepResult*>& inputs) {
  const StepResult* input = mount.input >= 0 ? inputs.at(static_cast<std::size_t>(mount.input)) : nullptr;
  if (mount.type == RunMount::Type::secret) return secret(mount);
  if (mount.type == RunMount::Type::ssh) return ssh(mount);
  StepMount made{.target = mount.target, .tree = {}, .tmpfs_size = mount.size};
  if (mount.type == RunMount::Type::bind) {
    if (input == nullptr) return fail(ErrorCode::internal, "a bind mount without a source");
    made.tree = TRY(bind(mount, *input));
  } else if (mount.type == RunMount::Type::cache) {
    made.tree = TRY(cache(mount, input));
  }
  mounts_.push_back(std::move(made));
  return {};
}

Result<FileDescriptor> RunMounts::bind(const RunMount& mount, const StepResult& input) {
  BindMount bound;
  if (!input.local.empty()) {
    bound =
        TRY(bind_directory(request_.store, request_.locals.at(input.local), mount.source, mount.read_only, cancel_));
  } else {
    bound = TRY(bind_layers(request_.store, input.layers, mount.source, mount.read_only));
  }
  FileDescriptor tree = std::move(bound.tree);
  bound_.push_back(std::move(bound));
  return tree;
}

/// Each store once, however many mounts show it: who has its lock would wait for himself. In the order of their names,
/// so that two steps that want the same ones cannot wait for each other.
Result<void> RunMounts::open_caches(const RunOp& op, const std::vector<const StepResult*>& inputs) {
  struct Wanted {
    CacheMountWish wish;
    const StepResult* input = nullptr;
  };
  std::map<std::string, Wanted> wanted;
  for (const RunMount& mount : op.mounts) {
    if (mount.type != RunMount::Type::cache) continue;
    const StepResult* input = mount.input >= 0 ? inputs.at(static_cast<std::size_t>(mount.input)) : nullptr;
    CacheMountWish wish = wish_of(mount, input);
    const auto [known, is_new] = wanted.try_emplace(cache_mount_directory(wish), Wanted{wish, input});
    if (!is_new) known->second.wish.sharing = std::max(known->second.wish.sharing, wish.sharing);  // the strictest
  }
  for (auto& [directory, one] : wanted) caches_.emplace(directory, TRY(open_cache(one.wish, one.input)));
  return {};
}

Result<CacheMount> RunMounts::open_cache(const CacheMountWish& wish, const StepResult* input) {
  std::function<Result<void>(FdRef)> fill;
  if (input != nullptr) {
    fill = [&](FdRef directory) -> Result<void> {
      BindMount from;
      if (!input->local.empty()) {
        from = TRY(bind_directory(request_.store, request_.locals.at(input->local), "/", true, cancel_));
      } else {
        from = TRY(bind_layers(request_.store, input->layers, "/", true));
      }
      const FileDescriptor root = TRY(open_file_at(from.tree, ".", O_RDONLY | O_DIRECTORY));
      return copy_directory(root, directory, {}, cancel_);
    };
  }
  const auto waiting = [&] {
    progress_.report({.kind = ProgressEvent::Kind::output,
                      .id = step_id_,
                      .text = "waiting for the cache mount \"" + wish.id + "\", which another step uses\n",
                      .is_stderr = true});
  };
  return open_cache_mount(request_.store.root(), wish, fill, waiting, cancel_);
}

Result<FileDescriptor> RunMounts::cache(const RunMount& mount, const StepResult* input) {
  const CacheMount& opened = caches_.at(cache_mount_directory(wish_of(mount, input)));
  // Found and cloned in one: what a step that shares it puts in its place meanwhile is not what is mounted.
  const std::string source = mount.source.empty() ? "/" : mount.source;
  const auto place = open_in_root(opened.data, source, O_PATH);
  if (!place)
    return Failure(Error(place.error()).with_context("the cache mount \"" + mount.id + "\" has no \"" + source + "\""));
  FileDescriptor tree = TRY(clone_mount_at(*place, Below::no));
  TRY(set_mount_attributes(tree, MOUNT_ATTR_NODEV | (mount.read_only ? unsigned{MOUNT_ATTR_RDONLY} : 0u), Below::no));
  return tree;
}

Result<void> RunMounts::secret(const RunMount& mount) {
  const std::optional<std::string> content = TRY(request_.secrets.find(mount.id));
  if (!content) {
    if (!mount.required) return {};
    return Failure(Error(ErrorCode::not_found, "secret " + mount.id + ": not found")
                       .with_hint("give it: --secret id=" + mount.id + ",src=FILE"));
  }
  if (!mount.env.empty()) {
    if (content->contains('\0'))
      return fail(ErrorCode::invalid_argument, "secret " + mount.id + " holds a NUL byte: no variable can hold it");
    environment_.push_back(mount.env + "=" + *content);
  }
  if (mount.target.empty()) return {};
  StepMount made{.target = mount.target};
  made.tree = TRY(make_memory_file(*content, mount.mode.value_or(kSecretMode), mount.uid, mount.gid, false));
  mounts_.push_back(std::move(made));
  return {};
}

Result<void> RunMounts::ssh(const RunMount& mount) {
  const bool given = std::any_of(request_.build.ssh.begin(), request_.build.ssh.end(),
                                 [&](const SshSource& source) { return source.id == mount.id; });
  if (!given && !mount.required) return {};
  if (!given)
    return Failure(Error(ErrorCode::not_found, "ssh forwarding \"" + mount.id + "\": not found")
                       .with_hint("give it: --ssh " + mount.id));
  const std::string agent = TRY(find_agent(request_.build.ssh, mount.id));
  std::unique_ptr<SshProxy> proxy = TRY(SshProxy::start(agent, mount.mode.value_or(kSocketMode), mount.uid, mount.gid));
  StepMount made{.target = mount.target};
  made.tree = proxy->take_mount();
  mounts_.push_back(std::move(made));
  agents_.push_back(std::move(proxy));
  return {};
}

}  // namespace dray::builder
