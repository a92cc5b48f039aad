// SPDX-License-Identifier: Apache-2.0
// Every field goes into the hash with its length, so that no two different steps spell the same bytes.
#include "solve/cache_key.hpp"

namespace dray::builder {
namespace {

constexpr std::string_view kVersion = "dray build cache 4";  // change it when the same step gives other layers

class Fields {
 public:
  void add(std::string_view text) {
    hasher_.update(std::to_string(text.size()) + ":");
    hasher_.update(text);
  }
  void add(const std::vector<std::string>& list) {
    add(std::to_string(list.size()));
    for (const std::string& text : list) add(text);
  }
  void add(std::uint64_t number) { add(std::to_string(number)); }
  std::string finish() { return hasher_.finish().hex(); }

 private:
  Hasher hasher_;
};

/// How things are mounted. What a bind mount shows is in the step's `content`; what is in a cache, a secret, or behind
/// an agent plays no part.
void add_mount(Fields& fields, const RunMount& mount) {
  fields.add(static_cast<std::uint64_t>(mount.type));
  fields.add(static_cast<std::uint64_t>(mount.sharing));
  fields.add(mount.target);
  fields.add(mount.type == RunMount::Type::cache ? mount.source : "");
  fields.add(mount.id);
  fields.add(mount.env);
  fields.add(std::uint64_t{mount.read_only} << 1 | std::uint64_t{mount.required});
  fields.add(mount.mode ? std::to_string(*mount.mode) : "");
  fields.add(std::uint64_t{mount.uid});
  fields.add(std::uint64_t{mount.gid});
  fields.add(mount.size);
}

void add_run(Fields& fields, const RunOp& run) {
  fields.add("run");
  fields.add(run.args);
  fields.add(run.env.get());
  fields.add(run.working_dir);
  fields.add(run.user);
  fields.add(run.network);
  fields.add(std::uint64_t{run.insecure});
  fields.add(run.devices);
  fields.add(run.script);
  fields.add(run.platform.to_string());
  fields.add(std::uint64_t{run.mounts.size()});
  for (const RunMount& mount : run.mounts) add_mount(fields, mount);
}

}  // namespace

std::string cache_key(const Op& op, const std::vector<DiffId>& parent, const std::vector<std::string>& content) {
  Fields fields;
  fields.add(kVersion);
  fields.add(std::to_string(parent.size()));
  for (const DiffId& layer : parent) fields.add(layer.digest.to_string());
  if (const auto* run = std::get_if<RunOp>(&op)) {
    add_run(fields, *run);
  } else if (const auto* copy = std::get_if<CopyOp>(&op)) {
    fields.add(copy->is_add ? "add" : "copy");
    fields.add(copy->unpack ? "unpack" : "");
    fields.add(copy->parents ? "parents" : "");
    if (copy->parents) fields.add(copy->paths);  // they say which directories come along
    fields.add(std::uint64_t{copy->destination_dot});
    // Where the files come from is in `content`, and so are their names.
    fields.add(copy->destination);
    fields.add(copy->chown);
    fields.add(copy->chmod);
    fields.add(std::to_string(copy->files.size()));
    for (const InlineFile& file : copy->files) {
      fields.add(file.name);
      fields.add(file.content);
    }
  } else if (const auto* directory = std::get_if<WorkdirOp>(&op)) {
    fields.add("workdir");
    fields.add(directory->path);
    fields.add(directory->owner);
  }
  fields.add(content);
  return fields.finish();
}

}  // namespace dray::builder
