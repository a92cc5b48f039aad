// SPDX-License-Identifier: Apache-2.0
#include "solve/local_content.hpp"

#include <algorithm>

namespace dray::builder {
namespace {

bool is_local(const Plan& plan, const Vertex& vertex, int input) {
  if (input < 0 || static_cast<std::size_t>(input) >= vertex.inputs.size()) return false;
  const int id = vertex.inputs[static_cast<std::size_t>(input)];
  return std::holds_alternative<LocalOp>(plan.vertices[static_cast<std::size_t>(id)].op);
}

/// A COPY reads at most one of the user's directories.
int local_input(const Plan& plan, const Vertex& vertex) {
  for (int input = 1; input < static_cast<int>(vertex.inputs.size()); ++input)
    if (is_local(plan, vertex, input)) return input;
  return -1;
}

bool reads_local(const Plan& plan, const Vertex& vertex) {
  if (std::holds_alternative<CopyOp>(vertex.op)) return local_input(plan, vertex) > 0;
  const auto* run = std::get_if<RunOp>(&vertex.op);
  return run != nullptr && std::any_of(run->mounts.begin(), run->mounts.end(),
                                       [&](const RunMount& mount) { return is_local(plan, vertex, mount.input); });
}

/// The name of the user's directory that is an input.
const std::string& local_name(const Plan& plan, const Vertex& vertex, int input) {
  const int id = vertex.inputs[static_cast<std::size_t>(input)];
  return std::get<LocalOp>(plan.vertices[static_cast<std::size_t>(id)].op).name;
}

/// `memory`: of the main context's files.
Result<void> read_local(const Plan& plan, const Vertex& vertex, const std::map<std::string, SourceTree>& trees,
                        FileDigests* memory, LocalContent& content, const CancelToken& cancel) {
  const auto memory_of = [&](const std::string& name) { return name == "context" ? memory : nullptr; };
  if (const auto* copy = std::get_if<CopyOp>(&vertex.op)) {
    const int input = local_input(plan, vertex);
    const std::string& name = local_name(plan, vertex, input);
    content.copies[vertex.id] = TRY(read_copy_content(trees.at(name), *copy, input, memory_of(name), cancel));
    return {};
  }
  const std::vector<RunMount>& mounts = std::get<RunOp>(vertex.op).mounts;
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    if (!is_local(plan, vertex, mounts[i].input)) continue;
    const std::string source = mounts[i].type == RunMount::Type::cache ? "/" : mounts[i].source;
    const std::string& name = local_name(plan, vertex, mounts[i].input);
    content.mounted[{vertex.id, i}] = TRY(read_mount_content(trees.at(name), source, memory_of(name), cancel));
  }
  return {};
}

}  // namespace

Result<LocalContent> load_local_content(store::Store& store, const Plan& plan, std::map<std::string, SourceTree> trees,
                                        bool remember, StepNumbers& numbers, ProgressSink& progress,
                                        const CancelToken& cancel) {
  const SourceTree& tree = trees.at("context");
  LocalContent content;
  std::vector<const Vertex*> readers;
  for (const Vertex& vertex : plan.vertices)
    if (reads_local(plan, vertex)) readers.push_back(&vertex);
  if (readers.empty()) return content;
  const int id = numbers.reserve();
  ScanProgress scanned([&](std::uint64_t listed, std::uint64_t looked_at) {
    report_status(progress, id,
                  "context: " + std::to_string(listed) + " files listed, " + std::to_string(looked_at) + " looked at");
  });
  for (auto& [name, local] : trees) local.progress = &scanned;
  auto loaded = as_step(progress, id, "[internal] load build context", [&]() -> Result<void> {
    std::optional<FileDigests> memory;
    if (remember && tree.root.valid()) memory = TRY(FileDigests::load(store.database(), tree.root));
    for (const Vertex* vertex : readers) {
      auto read = read_local(plan, *vertex, trees, memory ? &*memory : nullptr, content, cancel);
      if (!read) {
        Error error = std::move(read).error().with_location(vertex->location.to_string());
        if (!tree.root.valid()) error = std::move(error).with_hint("the build has no context");
        return Failure(std::move(error));
      }
    }
    report_status(progress, id, "transferring context: " + short_size(memory ? memory->bytes_read() : 0));
    return memory ? memory->save() : Result<void>();
  });
  if (!loaded) return Failure(std::move(loaded).error());
  return content;
}

}  // namespace dray::builder
