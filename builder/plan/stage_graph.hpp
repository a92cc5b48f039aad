// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "plan/environment.hpp"
#include "plan/planner.hpp"

// Which stage needs which, before any is planned.

namespace dray::builder {

/// An instruction of a stage, or an ONBUILD trigger of its base.
struct StageCommand {
  const Instruction* instruction = nullptr;
  /// Nodes it reads: COPY --from one or none; RUN one for each of its mounts (-1: the mount names none).
  std::vector<int> sources;
  bool trigger = false;
};

/// A stage, or an image or context that --from names.
struct StageNode {
  const Stage* stage = nullptr;  ///< nullptr: an image or context
  int line = 0;
  std::string name;  ///< the alias, or "stage-2"; "" for an image
  std::string base_name;
  int base = -1;                           ///< the stage it stands on
  std::optional<Reference> reference;      ///< or the image; neither: scratch
  const ContextSource* context = nullptr;  ///< or what was given for that name
  std::string context_name;
  bool replaced = false;                    ///< the stage itself is replaced by `context`
  std::optional<image::Platform> platform;  ///< FROM --platform
  std::vector<StageCommand> commands;
  std::set<int> needs;
  std::set<std::string> arguments;  ///< that its FROM uses
};

class StageGraph {
 public:
  StageGraph(const Dockerfile& dockerfile, const PlanOptions& options, Linter linter = {})
      : dockerfile_(dockerfile), options_(options), linter_(std::move(linter)) {}

  /// Expands the FROM lines and finds what each instruction names.
  Result<void> read();
  /// ONBUILD triggers go before the stage's own instructions. True: they need nodes that were not needed before.
  Result<bool> add_triggers(int node, const std::vector<std::string>& triggers, char escape);

  std::vector<bool> needed() const;  ///< by node, for the target
  std::string location(int line) const { return SourceLocation{dockerfile_.file, line}.to_string(); }

  std::vector<StageNode> nodes;  ///< the stages in order, then images and contexts
  int target = 0;
  Environment global_args;
  std::optional<std::int64_t> source_date_epoch;

 private:
  Result<Environment> read_global_args(bool with_build_args) const;
  void check_defaults() const;
  std::vector<std::string> declared_args() const;
  Result<void> read_epoch();
  Result<void> check_epoch_stage(const Stage& stage, const Environment& globals) const;
  Result<void> add_stage(const Stage& stage, int index);
  Result<void> find_base(StageNode& node);
  Result<StageCommand> link(const Instruction& instruction);
  Result<int> copy_source(const std::string& name, int line);
  int find_or_add(const std::string& name, int line);
  int find(const std::string& name) const;  ///< by alias, the last of that name; -1: none
  Result<int> find_target() const;
  Result<void> check_cycles() const;
  std::optional<std::string> build_arg(std::string_view name) const;

  const Dockerfile& dockerfile_;
  const PlanOptions& options_;
  const Linter linter_;
  std::deque<Instruction> triggers_;
  std::set<int> resolved_;
};

}  // namespace dray::builder
