// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/image/image.hpp>

#include "context/ignore.hpp"
#include "dockerfile/dockerfile.hpp"
#include "dockerfile/shell_lex.hpp"
#include "lint/linter.hpp"

// The checks of what a plan comes by while it expands variables and applies instructions.

namespace dray::builder {

/// FROM: `declared` are the global arguments and the predefined ones.
void check_from_variables(const VariableUse& use, const std::vector<std::string>& declared, const Stage& stage,
                          const Linter& linter);
void check_from_platform(const std::string& platform, const VariableUse& use, const std::string& target_platform,
                         const Stage& stage, const Linter& linter);
void check_base_platform(const std::string& name, const image::Platform& wanted, const image::Platform& found,
                         const Stage& stage, const Linter& linter);
/// The base's name when no build argument is given.
void check_default_base(const std::string& expanded, const Stage& stage, const Linter& linter);

/// Instructions that only count once in a stage.
class UsedOnce {
 public:
  void use(const Instruction& instruction, const Linter& linter);

 private:
  std::optional<LineRange> last_;
};

/// One instruction of a stage; `linter` has the options of its comments already.
class InstructionChecks {
 public:
  InstructionChecks(const Linter& linter, const Instruction& instruction)
      : linter_(linter), instruction_(instruction), lines_{instruction.line, instruction.end_line} {}
  bool active() const { return linter_.active(); }
  const Linter& linter() const { return linter_; }
  void undefined_variables(const std::vector<std::string>& unset, const std::vector<KeyValue>& build_args,
                           const std::vector<std::string>& known) const;
  /// ENV and LABEL.
  void legacy_form(const std::vector<KeyValue>& pairs) const;
  void secret_name(std::string_view keyword, const std::string& key) const;  ///< ARG and ENV
  void shell_form() const;                                                   ///< CMD and ENTRYPOINT without SHELL
  void relative_workdir(const std::string& path) const;
  void ports(const std::vector<std::string>& ports) const;
  void copy_source(const std::string& source, bool is_add, const IgnorePatterns& ignore) const;

 private:
  Linter linter_;
  const Instruction& instruction_;
  LineRange lines_;
};

}  // namespace dray::builder
