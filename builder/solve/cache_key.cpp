// SPDX-License-Identifier: Apache-2.0
// Every field goes into the hash with its length, so that no two different steps spell the same bytes.
#include "solve/cache_key.hpp"

namespace dray::builder {
namespace {

constexpr std::string_view kVersion = "dray build cache 3";  // change it when the same step gives other layers

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
  std::string finish() { return hasher_.finish().hex(); }

 private:
  Hasher hasher_;
};

}  // namespace

std::string cache_key(const Op& op, const std::vector<DiffId>& parent, const std::vector<std::string>& content) {
  Fields fields;
  fields.add(kVersion);
  fields.add(std::to_string(parent.size()));
  for (const DiffId& layer : parent) fields.add(layer.digest.to_string());
  if (const auto* run = std::get_if<RunOp>(&op)) {
    fields.add("run");
    fields.add(run->args);
    fields.add(run->env);
    fields.add(run->working_dir);
    fields.add(run->user);
    fields.add(run->network);
  } else if (const auto* copy = std::get_if<CopyOp>(&op)) {
    fields.add(copy->is_add ? "add" : "copy");
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
