// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace dray::builder {

enum class Rule {
  stage_name_casing,
  from_as_casing,
  no_empty_continuation,
  consistent_instruction_casing,
  duplicate_stage_name,
  reserved_stage_name,
  json_args_recommended,
  maintainer_deprecated,
  undefined_arg_in_from,
  workdir_relative_path,
  undefined_var,
  multiple_instructions_disallowed,
  legacy_key_value_format,
  invalid_base_image_platform,
  redundant_target_platform,
  secrets_used_in_arg_or_env,
  invalid_default_arg_in_from,
  from_platform_flag_const_disallowed,
  copy_ignored_file,
  invalid_definition_description,
  expose_proto_casing,
  expose_invalid_format
};
constexpr int kRuleCount = 22;

struct RuleText {
  std::string_view name;
  std::string_view page;  ///< the end of its URL; "" = none
  std::string_view description;
  bool experimental = false;  ///< off unless asked for
};

const RuleText& rule_text(Rule rule);

}  // namespace dray::builder
