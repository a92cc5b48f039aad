// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dockerfile/shell_lex.hpp"
#include "plan/planner.hpp"

namespace dray::builder {

/// Variables in order of their last setting, as in BuildKit.
class Environment {
 public:
  void set(std::string_view key, std::string_view value);
  std::optional<std::string> get(std::string_view key) const;
  Lookup lookup() const {
    return [this](std::string_view key) { return get(key); };
  }
  std::vector<std::string> list() const;  ///< "K=V"
  std::vector<std::string> keys() const;

 private:
  std::vector<std::pair<std::string, std::string>> variables_;
};

/// Sets "K=V" in a config's env in place, or appends it.
void set_env(std::vector<std::string>& env, const std::string& key, const std::string& value);

/// What a stage has become so far.
struct StageState {
  int vertex = 0;                     ///< its rootfs
  image::ImageConfig image;           ///< config and history
  Environment environment;            ///< ENV, then ARG, by time: what $x means
  std::vector<KeyValue> build_args;   ///< ARGs declared, for RUN's history
  std::vector<std::string> triggers;  ///< its own ONBUILDs, for stages that stand on it
  image::Platform platform;
  bool workdir_set = false;  ///< by a WORKDIR of this Dockerfile
};

/// Where a stage gets vertices and other stages from.
class PlanBuilder {
 public:
  virtual ~PlanBuilder() = default;
  virtual int add(Vertex vertex) = 0;
  /// The rootfs `COPY --from=name` means for stage `index`.
  virtual Result<int> copy_source(const std::string& name, int index) = 0;
  /// The directory of that name (LocalOp), the same vertex for all who ask.
  virtual int local_source(const std::string& name) = 0;
};

struct StageContext {
  const Dockerfile& dockerfile;
  const PlanOptions& options;
  const Environment& global_args;
  PlanBuilder& builder;
  int index;         ///< of the stage
  std::string name;  ///< in titles; "" for none
  int steps = 0;     ///< in titles
  int step = 0;      ///< the last one's number
};

/// "[name 2/4] text".
std::string step_title(StageContext& context, const std::string& text, bool trigger);

/// Applies the instructions to the state, `triggers` first.
Result<void> apply_instructions(StageContext& context, StageState& state, const std::vector<Instruction>& triggers,
                                const std::vector<Instruction>& instructions);

}  // namespace dray::builder
