// SPDX-License-Identifier: Apache-2.0
// One step of a build. Its key is known before it runs: a hit needs its layer unpacked and its blob in the
// content store. A miss gets a writable snapshot, is changed by a process or by file operations, and is
// written once: the layer's tar is hashed, compressed and stored in one pass.
#include "solve/step.hpp"

#include <fcntl.h>

#include <algorithm>

#include <dray/core/rooted_path.hpp>

#include "ops/ops.hpp"
#include "plan/wording.hpp"
#include "solve/cache_key.hpp"
#include "source/source_layer.hpp"

namespace dray::builder {

/// Where a COPY reads from, kept open between the key and the copying.
struct StepRunner::CopyInput {
  FileDescriptor view;  ///< of another stage
  SourceTree tree;
  CopyContent of_stage;
  const CopyContent* content = nullptr;
};

namespace {

/// Removes the active snapshot unless it became a layer.
class ActiveSnapshot {
 public:
  ActiveSnapshot(store::Snapshotter& snapshots, std::string id) : snapshots_(snapshots), id_(std::move(id)) {}
  ActiveSnapshot(const ActiveSnapshot&) = delete;
  ActiveSnapshot& operator=(const ActiveSnapshot&) = delete;
  ~ActiveSnapshot() {
    if (!id_.empty()) (void)snapshots_.remove(id_);  // what cannot be removed now is garbage for `prune`
  }
  const std::string& id() const { return id_; }
  void keep() { id_.clear(); }

 private:
  store::Snapshotter& snapshots_;
  std::string id_;
};

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
  if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
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
  const StepResult& parent = *inputs.front();
  std::vector<std::string> keys;
  CopyInput input;
  const auto* copy = std::get_if<CopyOp>(&vertex.op);
  if (copy == nullptr) {
    keys.push_back(cache_key(vertex.op, parent.layers, {}));
  } else {
    // For another stage the cheap question comes first: the same layers have the same files.
    const bool from_stage = inputs.size() > 1 && inputs[1]->local.empty();
    if (from_stage) {
      std::vector<std::string> origin = {"layers"};
      for (const DiffId& layer : inputs.at(1)->layers) origin.push_back(layer.digest.to_string());
      origin.push_back("paths");
      origin.insert(origin.end(), copy->paths.begin(), copy->paths.end());
      origin.push_back("exclude");
      origin.insert(origin.end(), copy->exclude.begin(), copy->exclude.end());
      keys.push_back(cache_key(vertex.op, parent.layers, origin));
      if (!request_.no_cache) {
        std::optional<StepResult> hit = TRY(look_up(keys.front(), parent));
        if (hit) {
          cached = true;
          return std::move(*hit);
        }
      }
    }
    TRY(open_copy(vertex, inputs, input));
    keys.push_back(cache_key(vertex.op, parent.layers, input.content->digests));
  }
  if (!request_.no_cache) {
    std::optional<StepResult> hit = TRY(look_up(keys.back(), parent));
    if (hit) {
      cached = true;
      // The cheap question shall have an answer next time.
      if (keys.size() > 1) TRY(remember(vertex, *hit, {keys.front()}));
      return std::move(*hit);
    }
  }
  return make(vertex, parent, input, id, keys);
}

SourceContext StepRunner::source_context(int id) {
  return {.store = request_.store,
          .network = request_.images,
          .build = request_.build,
          .secret = [this](const std::string& name) { return find_secret(request_.build, name); },
          .progress = progress_,
          .step_id = id,
          .cancel = cancel_};
}

Result<void> StepRunner::open_copy(const Vertex& vertex, const std::vector<const StepResult*>& inputs,
                                   CopyInput& input) {
  const CopyOp& op = std::get<CopyOp>(vertex.op);
  input.content = &input.of_stage;
  if (inputs.size() < 2) return {};  // heredocs alone
  if (!inputs[1]->local.empty()) {
    input.tree = request_.locals.at(inputs[1]->local);
    input.content = &request_.contents.at(vertex.id);
    return {};
  }
  input.tree = {.root = {}, .is_context = false, .is_download = inputs[1]->is_download, .ignore = nullptr};
  if (!inputs.at(1)->layers.empty()) {  // nothing is in scratch
    const store::MountRecipe recipe = TRY(request_.store.snapshots().view(inputs.at(1)->layers));
    input.view = TRY(store::open_mount(recipe));
    input.tree.root = input.view;
  }
  input.of_stage = TRY(read_copy_content(input.tree, op.paths, op.exclude, nullptr, cancel_, op.parents));
  return {};
}

Result<std::optional<StepResult>> StepRunner::look_up(const std::string& key, const StepResult& parent) {
  std::optional<store::BuildCacheRecord> record = TRY(request_.store.find_build_cache(key));
  if (!record || !record->layer || !record->blob) return std::nullopt;
  if (!request_.store.snapshots().contains(*record->layer) || !request_.store.content().contains(record->blob->digest))
    return std::nullopt;
  StepResult result;
  result.layers = parent.layers;
  result.layers.push_back(*record->layer);
  result.blob = *record->blob;
  result.created_at = record->created_at;
  record->last_used_at = format_time_now();
  TRY(request_.store.put_build_cache(*record));
  return result;
}

Result<StepResult> StepRunner::make(const Vertex& vertex, const StepResult& parent, CopyInput& input, int id,
                                    const std::vector<std::string>& keys) {
  const std::string active = TRY(request_.store.snapshots().prepare(parent.layers));
  ActiveSnapshot snapshot(request_.store.snapshots(), active);
  TRY(change(vertex, snapshot.id(), input, id));
  StepResult result = TRY(commit(vertex, parent, snapshot.id(), keys));
  snapshot.keep();
  return result;
}

Result<void> StepRunner::change(const Vertex& vertex, const std::string& snapshot, CopyInput& input, int id) {
  const store::MountRecipe recipe = TRY(request_.store.snapshots().mount_recipe(snapshot, true));
  if (const auto* run = std::get_if<RunOp>(&vertex.op)) return run_process(*run, recipe, id);
  const FileDescriptor root = TRY(store::open_mount(recipe));
  if (const auto* directory = std::get_if<WorkdirOp>(&vertex.op)) return make_working_directory(root, *directory);
  return copy_sources(root, std::get<CopyOp>(vertex.op), input.tree, input.content->sources, cancel_);
}

Result<void> StepRunner::run_process(const RunOp& op, const store::MountRecipe& rootfs, int id) {
  RunRequest request;
  request.rootfs = rootfs;
  request.args = op.args;
  request.env = op.env;
  request.env.insert(request.env.end(), op.proxy_env.begin(), op.proxy_env.end());
  request.working_dir = op.working_dir;
  request.user = op.user;
  request.network = op.network;
  Output output(progress_, id);
  const ExitStatus status = TRY(request_.executor.run(
      request, [&](std::string_view bytes, bool is_stderr) { output.add(bytes, is_stderr); }, cancel_));
  if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
  if (status.exit_code() == 0) return {};
  Error error(ErrorCode::command_failed,
              "process \"" + join(op.args, " ") +
                  "\" did not complete successfully: exit code: " + std::to_string(status.exit_code()));
  if (!output.last_line().empty()) error = std::move(error).with_hint("its last output: " + output.last_line());
  return Failure(std::move(error));
}

Result<StepResult> StepRunner::commit(const Vertex& vertex, const StepResult& parent, const std::string& snapshot,
                                      const std::vector<std::string>& keys) {
  store::BlobWriter writer = TRY(request_.store.content().begin_write());
  const std::unique_ptr<ByteSink> gzip = make_gzip_sink(writer);
  HashingSink tar(*gzip);
  TRY(request_.store.snapshots().write_diff(snapshot, tar, cancel_));
  TRY(tar.finish());
  const DiffId layer{tar.digest()};
  StepResult result;
  result.layers = parent.layers;
  result.layers.push_back(layer);
  result.blob.media_type = std::string(image::kOciLayerGzip);
  result.blob.size = writer.size();
  result.blob.digest = TRY(writer.commit());
  TRY(request_.store.snapshots().commit(snapshot, layer));
  result.created_at = format_time_now();
  TRY(remember(vertex, result, keys));
  return result;
}

/// Only after blob and layer are in the store: a record never promises what a kill could have prevented.
Result<void> StepRunner::remember(const Vertex& vertex, const StepResult& result,
                                  const std::vector<std::string>& keys) {
  store::BuildCacheRecord record;
  record.layer = result.layers.back();
  record.blob = result.blob;
  record.description = vertex.title;
  record.created_at = result.created_at;
  record.last_used_at = format_time_now();
  for (const std::string& key : keys) {
    record.key = key;
    TRY(request_.store.put_build_cache(record));
  }
  return {};
}

}  // namespace dray::builder
