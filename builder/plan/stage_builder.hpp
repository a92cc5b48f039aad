// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lint/plan_checks.hpp"
#include "plan/environment.hpp"
#include "plan/stage_graph.hpp"

namespace dray::builder {

/// What a stage has become so far.
struct StageState {
  int vertex = 0;            ///< its rootfs
  image::ImageConfig image;  ///< config and history; its env is in `config_env` until the stage is finished
  Environment environment;   ///< ENV, then ARG, by time: what $x means
  Environment config_env{Environment::Order::first_set};
  std::vector<KeyValue> build_args;   ///< ARGs declared, for RUN's history
  std::vector<std::string> triggers;  ///< its own ONBUILDs, for stages that stand on it
  image::Platform platform;
  bool workdir_set = false;  ///< by a WORKDIR of this Dockerfile
};

/// Where a stage gets vertices and other stages from.
class PlanBuilder {
 public:
  virtual ~PlanBuilder() = default;
  virtual Result<int> add(Vertex vertex) = 0;
  /// The rootfs of another node, which has to stand above the one that asks; -1: it is not planned yet.
  virtual Result<int> node_vertex(int node) = 0;
  /// The main context, the same vertex for all who ask.
  virtual int context_vertex() = 0;
  /// A source without inputs; an equal one is used again.
  virtual int source_vertex(Op op, std::string title, const SourceLocation& location) = 0;
  /// `path` of a node (-1: the main context) is read.
  virtual void reads(int node, std::string_view path) = 0;
};

struct StageContext {
  const Dockerfile& dockerfile;
  const PlanOptions& options;
  const StageGraph& graph;
  PlanBuilder& builder;
  std::string name;  ///< in titles; "" for none
  int steps = 0;     ///< in titles
  int step = 0;      ///< the last one's number
};

/// "[name 2/4] text".
std::string step_title(StageContext& context, const std::string& text, bool trigger);

/// Applies instructions to a stage: each changes the config, appends a line of history and, if it changes files, adds a
/// vertex. Variables are expanded with what was set before the instruction.
class StageBuilder {
 public:
  StageBuilder(StageContext& context, StageState& state);
  Result<void> apply(const StageCommand& command);

 private:
  Result<void> run(const ArgInstruction& arg);
  Result<void> run(const EnvInstruction& env);
  Result<void> run(const LabelInstruction& label);
  Result<void> run(const MaintainerInstruction& maintainer);
  Result<void> run(const RunInstruction& run);
  Result<void> run(const CopyInstruction& copy);
  Result<void> run(const WorkdirInstruction& workdir);
  Result<void> run(const UserInstruction& user);
  Result<void> run(const ExposeInstruction& expose);
  Result<void> run(const CmdInstruction& cmd);
  Result<void> run(const EntrypointInstruction& entrypoint);
  Result<void> run(const VolumeInstruction& volume);
  Result<void> run(const ShellInstruction& shell);
  Result<void> run(const StopsignalInstruction& stopsignal);
  Result<void> run(const HealthcheckInstruction& health);
  Result<void> run(const OnbuildInstruction& onbuild);

  // run_plan.cpp
  Result<void> add_mounts(const RunInstruction& run, RunOp& op, std::vector<int>& inputs);
  Result<void> add_mount(const MountFlag& mount, int source, RunOp& op, std::vector<int>& inputs);
  Result<std::string> mount_target(const std::string& target);
  std::string arguments_text() const;
  std::vector<std::string> proxies() const;

  // copy_plan.cpp
  struct CopySource {
    std::string path;
    int vertex = -1;
  };
  Result<CopySource> copy_source(const CopyInstruction& copy, const std::string& text, std::string& checksum,
                                 int local);
  Result<CopySource> git_source(const CopyInstruction& copy, const std::string& text, std::string& checksum);
  Result<void> copy_files(const CopyInstruction& copy, CopyOp& op, std::string& text);

  Result<std::string> expand(const std::string& text) const { return expand(lex_, text); }
  Result<std::string> expand(const ShellLex& lex, const std::string& text) const;
  void note_argument(const KeyValue& pair, bool from_global);
  Result<std::vector<KeyValue>> expand(const std::vector<KeyValue>& pairs) const;
  image::ContainerConfig& config() { return state_.image.config; }
  void history(std::string created_by, bool empty_layer = true);
  std::string title(const ShellLex& lex, const std::string& text,
                    const std::map<std::string, std::string>& masked = {});
  Result<void> layer(Op op, std::vector<int> inputs, std::string title, std::string created_by);
  std::vector<std::string> with_shell(const std::vector<std::string>& text);
  std::string working_directory();

  StageContext& context_;
  StageState& state_;
  ShellLex lex_;
  const StageCommand* command_ = nullptr;
  std::optional<InstructionChecks> checks_;
  UsedOnce cmds_, entrypoints_, healthchecks_;
  bool cmd_set_ = false;
  std::size_t history_size_ = 0;
};

}  // namespace dray::builder
