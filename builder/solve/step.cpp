// SPDX-License-Identifier: Apache-2.0
// One step of a build. Its key is known before it runs: a hit needs its layer unpacked and its blob in the
// content store. A miss gets a writable snapshot, is changed by a process or by file operations, and is
// written once: the layer's tar is hashed, compressed and stored in one pass.
#include "solve/step.hpp"

#include <fcntl.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include <dray/core/rooted_path.hpp>
#include <dray/store/layer_writer.hpp>

#include "mounts/held_lock.hpp"
#include "ops/ops.hpp"
#include "plan/wording.hpp"
#include "solve/active_snapshot.hpp"
#include "solve/cache_key.hpp"
#include "solve/run_mounts.hpp"
#include "source/source_layer.hpp"

namespace dray::builder {

/// Where a COPY reads from, kept open between the key and the copying.
struct StepRunner::CopyInput {
  struct Tree {
    FileDescriptor view;  ///< of another stage
    SourceTree tree;
    CopyContent of_stage;
    const CopyContent* content = nullptr;
    std::size_t paths = 0, sources = 0;  ///< those that are in `parts` already
  };
  std::map<int, Tree> trees;  ///< by index among the vertex's inputs
  std::vector<CopyPart> parts;
  std::vector<std::string> digests;
};

/// One vertex on its way.
struct StepRunner::Work {
  Vertex vertex;  ///< a copy: names of owners become numbers in it
  const std::vector<const StepResult*>& inputs;
  int id;
  std::vector<DiffId> below;  ///< what the result's layer is put on
  bool is_link = false;       ///< COPY --link: it is made on nothing, and does not depend on what is below
  bool use_cache = true;
  std::vector<std::string> keys;  ///< the last one is the most general
  CopyInput copy;

  std::vector<DiffId> base() const { return is_link ? std::vector<DiffId>() : below; }
};

/// A RUN whose file system is kept for a shell.
struct StepRunner::Stopped {
  Vertex vertex;
  std::vector<const StepResult*> inputs;
  int id;
  ActiveSnapshot snapshot;
};

namespace {

/// Passes a process's output on and remembers its last line, for the error.
class Output {
 public:
  Output(ProgressSink& progress, int id) : progress_(progress), id_(id) {}

  void add(std::string_view bytes, bool is_stderr) {
    progress_.report(
        {.kind = ProgressEvent::Kind::output, .id = id_, .text = std::string(bytes), .is_stderr = is_stderr});
    for (const char c : bytes) {
      if (c != '\n' && c != '\r') {
        if (line_.size() < kMaxLine) line_ += c;
      } else if (line_.find_first_not_of(" \t") != std::string::npos) {
        last_ = std::exchange(line_, "");
      } else {
        line_.clear();
      }
    }
  }
  const std::string& last_line() const { return line_.find_first_not_of(" \t") != std::string::npos ? line_ : last_; }

 private:
  static constexpr std::size_t kMaxLine = 300;
  ProgressSink& progress_;
  int id_;
  std::string line_, last_;
};

}  // namespace

Result<StepResult> StepRunner::run(const Vertex& vertex, const std::vector<const StepResult*>& inputs) {
  const int id = request_.first_id + vertex.id;
  ProgressEvent event{.kind = ProgressEvent::Kind::started, .id = id, .name = vertex.title};
  const bool shown = !vertex.title.empty();  // FROM scratch is nothing to tell
  if (shown) progress_.report(event);
  bool cached = false;
  Result<StepResult> result = step(vertex, inputs, id, cached);
  if (!result) {
    event.kind = ProgressEvent::Kind::failed;
    event.text = result.error().code() == ErrorCode::cancelled ? "CANCELED" : result.error().message();
    if (shown) progress_.report(event);
    return Failure(std::move(result).error().with_location(vertex.location.to_string()));
  }
  event.kind = cached ? ProgressEvent::Kind::cached : ProgressEvent::Kind::completed;
  if (shown) progress_.report(event);
  return result;
}

Result<StepResult> StepRunner::step(const Vertex& vertex, const std::vector<const StepResult*>& inputs, int id,
                                    bool& cached) {
  TRY(cancel_.check());
  if (const auto* source = std::get_if<SourceOp>(&vertex.op)) {
    StepResult result;
    if (source->reference) result.layers = TRY(request_.base_layers(*source));
    return result;
  }
  if (const auto* local = std::get_if<LocalOp>(&vertex.op)) return StepResult{.local = local->name};
  if (vertex.inputs.empty()) {
    const SourceLayer fetched = TRY(fetch_source(vertex.op, source_context(id)));
    cached = fetched.cached;
    return StepResult{.layers = {fetched.layer},
                      .blob = fetched.blob,
                      .created_at = fetched.created_at,
                      .is_download = std::holds_alternative<HttpOp>(vertex.op)};
  }
  Work work{.vertex = vertex, .inputs = inputs, .id = id, .below = inputs.front()->layers};
  const std::vector<std::string>& filter = request_.build.no_cache_filter;
  work.use_cache = !request_.build.no_cache && std::none_of(filter.begin(), filter.end(), [&](const std::string& name) {
    return ::strcasecmp(name.c_str(), vertex.stage.c_str()) == 0;
  });
  if (stops_at(vertex)) return make(work);
  std::optional<StepResult> hit;
  if (std::holds_alternative<CopyOp>(vertex.op)) {
    hit = TRY(find_copy(work));
  } else if (std::holds_alternative<RunOp>(vertex.op)) {
    hit = TRY(find_run(work));
  } else {
    work.keys.push_back(cache_key(vertex.op, work.below, {}));
    hit = TRY(look_up(work.keys.back(), work));
  }
  cached = hit.has_value();
  if (hit) {
    hit->keys = work.keys;
    return std::move(*hit);
  }
  if (!work.use_cache) return make(work);

  // The same step in another build, or elsewhere in this one: one makes it, the others take it.
  const std::string locks = request_.store.root() + "/build-locks";
  TRY(make_directories(locks, 0700));
  const std::string path = locks + "/" + work.keys.back();
  bool waited = false;
  const auto waiting = [&] {
    waited = true;
    progress_.report({.kind = ProgressEvent::Kind::output,
                      .id = id,
                      .text = "waiting for another build that runs this step\n",
                      .is_stderr = true});
  };
  const FileLock lock = TRY(wait_for_named_lock(path, FileLock::Mode::exclusive, waiting, cancel_));
  hit = TRY(look_up(work.keys.back(), work));
  cached = hit.has_value();
  Result<StepResult> result = hit ? Result<StepResult>(std::move(*hit)) : make(work);
  (void)::unlink(path.c_str());  // ours until now; who waits sees that the name is gone
  return result;
}

/// A COPY is known by the content of what it reads. For another stage the cheap question comes first: the same layers
/// have the same files.
Result<std::optional<StepResult>> StepRunner::find_copy(Work& work) {
  auto& copy = std::get<CopyOp>(work.vertex.op);
  work.is_link = copy.link;
  if (copy.link && !copy.chown.empty()) {  // the image's names, but the key is that of the numbers
    FileDescriptor root;
    if (!work.below.empty()) root = TRY(store::open_mount(TRY(request_.store.snapshots().view(work.below))));
    const Owner owner = TRY(resolve_owner(root, copy.chown));
    copy.chown = std::to_string(owner.uid) + ":" + std::to_string(owner.gid);
  }
  const bool from_layers =
      work.inputs.size() > 1 &&
      std::all_of(work.inputs.begin() + 1, work.inputs.end(), [](const auto* input) { return input->local.empty(); });
  if (from_layers) {
    std::vector<std::string> origin;
    for (std::size_t i = 1; i < work.inputs.size(); ++i) {
      origin.push_back("layers");
      for (const DiffId& layer : work.inputs[i]->layers) origin.push_back(layer.digest.to_string());
    }
    for (std::size_t i = 0; i < copy.paths.size(); ++i) {
      origin.push_back("path " + std::to_string(input_of_path(copy, i)));
      origin.push_back(copy.paths[i]);
    }
    origin.push_back("exclude");
    origin.insert(origin.end(), copy.exclude.begin(), copy.exclude.end());
    work.keys.push_back(cache_key(work.vertex.op, work.base(), origin));
    std::optional<StepResult> hit = TRY(look_up(work.keys.back(), work));
    if (hit) return hit;
  }
  TRY(open_copy(work));
  work.keys.push_back(cache_key(work.vertex.op, work.base(), work.copy.digests));
  std::optional<StepResult> hit = TRY(look_up(work.keys.back(), work));
  // The cheap question shall have an answer next time.
  if (hit && !hit->imported && work.keys.size() > 1) TRY(remember(work, *hit, {work.keys.front()}));
  return hit;
}

/// So is a RUN, by the content of what its bind mounts show.
Result<std::optional<StepResult>> StepRunner::find_run(Work& work) {
  const std::vector<std::string> origin = TRY(mounted_content(work, false));
  work.keys.push_back(cache_key(work.vertex.op, work.below, origin));
  std::optional<StepResult> hit = TRY(look_up(work.keys.back(), work));
  if (hit || origin.empty()) return hit;
  const std::vector<std::string> content = TRY(mounted_content(work, true));
  if (content == origin) return hit;
  work.keys.push_back(cache_key(work.vertex.op, work.below, content));
  hit = TRY(look_up(work.keys.back(), work));
  if (hit && !hit->imported) TRY(remember(work, *hit, {work.keys.front()}));
  return hit;
}

/// What the bind mounts show: files of the user's by their digests; of a stage either the layers and the path or, with
/// `by_content`, the files. All of a stage is its layers, which are digests of content already.
Result<std::vector<std::string>> StepRunner::mounted_content(const Work& work, bool by_content) {
  std::vector<std::string> list;
  for (const auto& [name, address] : request_.build.extra_hosts) list.push_back("host " + name + " " + address);
  const std::vector<RunMount>& mounts = std::get<RunOp>(work.vertex.op).mounts;
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    if (mounts[i].input < 0) continue;
    const StepResult& input = *work.inputs.at(static_cast<std::size_t>(mounts[i].input));
    const auto known = request_.mounted.find({work.vertex.id, i});
    if (known != request_.mounted.end()) {
      list.push_back("files");
      list.insert(list.end(), known->second.digests.begin(), known->second.digests.end());
    } else if (by_content && mounts[i].source != "/" && mounts[i].type == RunMount::Type::bind &&
               !input.layers.empty()) {
      const FileDescriptor view = TRY(store::open_mount(TRY(request_.store.snapshots().view(input.layers))));
      const SourceTree tree{.root = view, .is_context = false, .ignore = nullptr};
      const CopyContent content = TRY(read_mount_content(tree, mounts[i].source, nullptr, cancel_));
      list.push_back("files");
      list.insert(list.end(), content.digests.begin(), content.digests.end());
    } else {
      list.push_back("layers");
      for (const DiffId& layer : input.layers) list.push_back(layer.digest.to_string());
      list.push_back(mounts[i].source);
    }
  }
  return list;
}

SourceContext StepRunner::source_context(int id) {
  return {.store = request_.store,
          .network = request_.images,
          .build = request_.build,
          .secrets = request_.secrets,
          .progress = progress_,
          .step_id = id,
          .cancel = cancel_};
}

/// Opens what the step reads, and puts the sources in the order of its paths.
Result<void> StepRunner::open_copy(Work& work) {
  const CopyOp& op = std::get<CopyOp>(work.vertex.op);
  CopyInput& copy = work.copy;
  for (int i = 1; i < static_cast<int>(work.inputs.size()); ++i) {
    const StepResult& input = *work.inputs[static_cast<std::size_t>(i)];
    CopyInput::Tree& from = copy.trees[i];
    if (!input.local.empty()) {
      from.tree = request_.locals.at(input.local);
      from.content = &request_.contents.at(work.vertex.id);
      continue;
    }
    from.tree = {.root = {}, .is_context = false, .is_download = input.is_download, .ignore = nullptr};
    if (!input.layers.empty()) {  // nothing is in scratch
      const store::MountRecipe recipe = TRY(request_.store.snapshots().view(input.layers));
      from.view = TRY(store::open_mount(recipe));
      from.tree.root = from.view;
    }
    from.of_stage = TRY(read_copy_content(from.tree, op, i, nullptr, cancel_));
    from.content = &from.of_stage;
  }
  for (std::size_t path = 0; path < op.paths.size(); ++path) {
    CopyInput::Tree& from = copy.trees.at(input_of_path(op, path));
    for (std::size_t count = from.content->counts.at(from.paths++); count > 0; --count, ++from.sources) {
      copy.parts.push_back({&from.tree, &from.content->sources.at(from.sources)});
      // ADD unpacks an archive of the context, but not the same one by http.
      copy.digests.push_back((from.tree.is_download ? "download " : "") + from.content->digests.at(from.sources));
    }
  }
  return {};
}

Result<std::optional<StepResult>> StepRunner::look_up(const std::string& key, const Work& work) {
  if (!work.use_cache) return std::nullopt;
  std::optional<store::BuildCacheRecord> record = TRY(request_.store.find_build_cache(key));
  const bool here = record && record->layer && record->blob;
  if (!here && request_.import_record) record = TRY(request_.import_record(key));
  if (!record || !record->layer || !record->blob) return std::nullopt;
  if (!request_.store.snapshots().contains(*record->layer) || !request_.store.content().contains(record->blob->digest))
    return std::nullopt;
  StepResult result;
  result.layers = work.below;
  result.layers.push_back(*record->layer);
  result.blob = *record->blob;
  result.created_at = record->created_at;
  result.keys = {key};
  result.imported = !here;
  return result;
}

Result<StepResult> StepRunner::make(Work& work) {
  // The clock of file times. Before the snapshot is made: its root directory is as new as what the step puts there, for
  // overlayfs gives a directory its time back when it copies something up into it.
  struct timespec started;
  ::clock_gettime(CLOCK_REALTIME_COARSE, &started);
  const std::string active = TRY(request_.store.snapshots().prepare(work.base(), Durability::none, cancel_));
  ActiveSnapshot snapshot(request_.store.snapshots(), active);
  if (stops_at(work.vertex)) {
    keep_for_shell(work, snapshot);
    return fail(ErrorCode::command_failed, "stopped before this step, for a shell");
  }
  if (auto changed = change(work, snapshot.id()); !changed) {
    if (request_.build.shell_on_failure && changed.error().code() == ErrorCode::command_failed)
      keep_for_shell(work, snapshot);
    return Failure(std::move(changed).error());
  }
  if (!std::holds_alternative<RunOp>(work.vertex.op))
    TRY(request_.store.snapshots().settle_times(snapshot.id(), started));
  StepResult result = TRY_CTX(commit(work, snapshot.id()), "keeping the layer in \"" + request_.store.root() + "\"");
  snapshot.keep();
  return result;
}

Result<void> StepRunner::change(Work& work, const std::string& snapshot) {
  const store::MountRecipe recipe = TRY(request_.store.snapshots().mount_recipe(snapshot, true));
  if (std::holds_alternative<RunOp>(work.vertex.op)) return run_process(work, recipe);
  const FileDescriptor root = TRY(store::open_mount(recipe));
  if (const auto* directory = std::get_if<WorkdirOp>(&work.vertex.op)) return make_working_directory(root, *directory);
  return copy_sources(root, std::get<CopyOp>(work.vertex.op), work.copy.parts, cancel_);
}

Result<void> StepRunner::run_process(Work& work, const store::MountRecipe& rootfs) {
  const RunOp& op = std::get<RunOp>(work.vertex.op);
  RunMounts mounts(request_, progress_, work.id, cancel_);
  TRY(mounts.open(op, work.inputs));
  const RunRequest request = run_request(op, rootfs, mounts);
  Output output(progress_, work.id);
  const ExitStatus status = TRY(request_.executor.run(
      request, [&](std::string_view bytes, bool is_stderr) { output.add(bytes, is_stderr); }, cancel_));
  TRY(cancel_.check());
  if (status.exit_code() == 0) return {};
  Error error(ErrorCode::command_failed,
              "process \"" + join(op.args, " ") +
                  "\" did not complete successfully: exit code: " + std::to_string(status.exit_code()));
  if (!output.last_line().empty()) error = std::move(error).with_hint("its last output: " + output.last_line());
  return Failure(std::move(error));
}

RunRequest StepRunner::run_request(const RunOp& op, const store::MountRecipe& rootfs, RunMounts& mounts) const {
  RunRequest request;
  request.rootfs = rootfs;
  request.args = op.args;
  request.env = op.env.get();
  request.env.insert(request.env.end(), op.proxy_env.begin(), op.proxy_env.end());
  request.env.insert(request.env.end(), mounts.environment().begin(), mounts.environment().end());
  request.working_dir = op.working_dir;
  request.user = op.user;
  request.network = op.network;
  request.mounts = mounts.take();
  request.insecure = op.insecure;
  request.devices = op.devices;
  request.required_devices = op.required_devices;
  request.extra_hosts = request_.build.extra_hosts;
  request.ulimits = request_.build.ulimits;
  request.shm_size = request_.build.shm_size;
  request.cgroup_parent = request_.build.cgroup_parent;
  return request;
}

bool StepRunner::stops_at(const Vertex& vertex) const {
  return request_.build.shell_at > 0 && vertex.location.line == request_.build.shell_at &&
         std::holds_alternative<RunOp>(vertex.op);
}

void StepRunner::keep_for_shell(const Work& work, ActiveSnapshot& snapshot) {
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  stopped_ = std::shared_ptr<Stopped>(
      new Stopped{work.vertex, work.inputs, work.id, {request_.store.snapshots(), snapshot.release()}});
}

Result<void> StepRunner::open_shell(const CancelToken& cancel) {
  const std::shared_ptr<Stopped> stopped = std::exchange(stopped_, nullptr);
  if (!stopped) return {};
  const RunOp& op = std::get<RunOp>(stopped->vertex.op);
  RunMounts mounts(request_, progress_, stopped->id, cancel);
  TRY(mounts.open(op, stopped->inputs));
  const store::MountRecipe rootfs = TRY(request_.store.snapshots().mount_recipe(stopped->snapshot.id(), true));
  RunRequest request = run_request(op, rootfs, mounts);
  const bool shell_form = op.args.size() == 3 && op.args[1] == "-c";
  request.args = {shell_form ? op.args[0] : "/bin/sh"};
  request.is_interactive = true;
  progress_.report({.kind = ProgressEvent::Kind::message,
                    .text = "a shell in " + stopped->vertex.title + "; its command: " + join(op.args, " ")});
  TRY_CTX(request_.executor.run(request, {}, cancel), "opening a shell in " + stopped->vertex.title);
  return {};
}

Result<StepResult> StepRunner::commit(const Work& work, const std::string& snapshot) {
  store::LayerWriter tar = TRY(store::LayerWriter::begin(request_.store.content()));
  const auto summary = TRY(request_.store.snapshots().write_diff(snapshot, tar, cancel_));
  store::PackedLayer layer = TRY(tar.commit());
  StepResult result;
  result.layers = work.below;
  result.layers.push_back(layer.diff_id);
  result.blob = std::move(layer.blob);
  TRY(request_.store.snapshots().commit(snapshot, layer.diff_id));
  // Not the clock's time: it goes into the image, and equal layers shall make equal images.
  result.created_at = format_time(summary.newest);
  if (!inputs_are_unchanged(work)) return result;
  result.keys = work.keys;
  TRY(remember(work, result, work.keys));
  return result;
}

/// Whether nobody wrote to the user's files while the step read them, or a RUN saw them: else the layer is not that of
/// the content the keys are for.
bool StepRunner::inputs_are_unchanged(const Work& work) const {
  const auto* run = std::get_if<RunOp>(&work.vertex.op);
  if (run == nullptr)
    return std::all_of(work.copy.parts.begin(), work.copy.parts.end(), [](const CopyPart& part) {
      return !part.tree->is_context || is_unchanged(*part.tree, *part.source);
    });
  for (std::size_t i = 0; i < run->mounts.size(); ++i) {
    const auto shown = request_.mounted.find({work.vertex.id, i});
    if (shown == request_.mounted.end()) continue;
    const StepResult& input = *work.inputs.at(static_cast<std::size_t>(run->mounts[i].input));
    if (!shows_the_same(request_.locals.at(input.local), shown->second, cancel_)) return false;
  }
  return true;
}

/// Only after blob and layer are in the store: a record never promises what a kill could have prevented.
Result<void> StepRunner::remember(const Work& work, const StepResult& result, const std::vector<std::string>& keys) {
  store::BuildCacheRecord record;
  record.layer = result.layers.back();
  record.blob = result.blob;
  record.description = work.vertex.title;
  record.created_at = result.created_at;
  record.last_used_at = format_time_now();
  for (const std::string& key : keys) {
    record.key = key;
    TRY(request_.store.put_build_cache(record));
  }
  return {};
}

}  // namespace dray::builder
