// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "../hcl/evaluate.hpp"
#include "../hcl/types.hpp"
#include "bake_definition.hpp"

namespace dray::cli {

/// What is written in a file, whichever form it has. The file's name must live as long.
Result<hcl::Block> read_bake_file(const BakeFile& file,
                                  const std::function<std::optional<std::string>(const std::string&)>& environment);

/// A target or a group as one block of one file defines it, its attributes evaluated. A block with a matrix gives
/// several.
struct BakeDefinition {
  struct Attribute {
    std::string name;
    hcl::Value value;
    hcl::Place place;
  };
  std::string name;
  std::vector<Attribute> attributes;  ///< in their order
};

/// The variables, functions and blocks of all files. Values are made when they are asked for, once.
class BakeValues : private hcl::Globals {
 public:
  using Environment = std::function<std::optional<std::string>(const std::string&)>;
  explicit BakeValues(Environment environment) : environment_(std::move(environment)) {}

  Result<void> add_file(hcl::Block file);
  /// All variables, with their validations.
  Result<void> check_variables();
  /// In the order of the files.
  Result<std::vector<BakeDefinition>> targets();
  Result<std::vector<BakeDefinition>> groups();
  /// What --list says of a variable. Without a value: neither a default nor the environment gives one.
  struct Described {
    std::string name, type, description;
    std::optional<hcl::Value> value;
    bool is_sensitive = false;
  };
  /// Those with a block of their own, by their names.
  Result<std::vector<Described>> describe_variables();

 private:
  /// What target.NAME.… and group.NAME.… mean: of all blocks of that name.
  struct Blocks {
    bool have_matrix = false;
    std::map<std::string, hcl::ExpressionRef> attributes;
  };
  struct Variable {
    hcl::Place place;
    hcl::ExpressionRef otherwise, description, sensitive;
    std::optional<hcl::Type> type;
    std::vector<hcl::Block> validations;
    bool is_attribute = false;  ///< of the file itself: the environment does not change it
  };

  Result<void> add_variable(const hcl::Block& block);
  Result<void> add_function(const hcl::Block& block);
  Result<bool> is_sensitive(const Variable& variable);
  Result<hcl::Value> value_of(const std::string& name, const Variable& variable);
  /// What the environment says of a variable.
  struct Override {
    std::string text;
    bool is_json = false;
  };
  std::optional<Override> override_of(const std::string& name, const Variable& variable) const;
  Result<std::optional<hcl::Value>> given(const std::string& name, const Variable& variable,
                                          const hcl::Value& otherwise);
  Result<void> validate(const std::string& name, const Variable& variable);
  /// With `names_only`: no other attributes.
  Result<void> unfold(const hcl::Block& block, std::vector<BakeDefinition>& definitions, bool names_only = false);
  Result<BakeDefinition> define(const hcl::Block& block, const hcl::Locals* locals, bool name_only = false);

  Result<std::optional<hcl::Value>> variable(const std::string& name, const hcl::Place& place) override;
  Result<std::optional<hcl::Value>> attribute_of_block(const std::string& type, const std::string& label,
                                                       const std::string& name, const hcl::Place& place) override;
  const hcl::UserFunction* function(const std::string& name) override;
  std::vector<std::string> names() const override;

  Environment environment_;
  std::vector<hcl::Block> files_;
  std::map<std::string, Blocks> blocks_;  ///< by "target.NAME", "group.NAME"
  std::map<std::string, Variable> variables_;
  std::map<std::string, hcl::UserFunction> functions_;
  std::map<std::string, hcl::Value> values_;
  std::set<std::string> open_;  ///< being evaluated
  hcl::Evaluator evaluator_{*this};
};

}  // namespace dray::cli
