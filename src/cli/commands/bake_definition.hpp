// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::cli {

/// A file of `dray bake`: HCL (docker-bake.hcl), JSON (docker-bake.json) or compose (YAML).
struct BakeFile {
  std::string name, text;
};

struct BakeOptions {
  std::vector<BakeFile> files;       ///< later ones add to and override earlier ones
  std::vector<std::string> targets;  ///< targets and groups; empty: "default"
  std::vector<std::string> sets;     ///< --set PATTERN.KEY[.SUBKEY][+]=VALUE
  std::string call;                  ///< --call of all targets; "" = each its own
  /// --provenance, --sbom: type and parameters, in place of what a target says of that type.
  std::vector<std::pair<std::string, std::string>> attestations;
  bool push = false, load = false, no_cache = false, pull = false;
  std::function<std::optional<std::string>(const std::string& name)> environment;
};

struct BakeTarget {
  std::string name, description;
  std::vector<std::string> arguments;  ///< what `dray build` would be given
  /// Of these, what --set says: the user's own words, which need no --allow. Empty: nothing.
  std::vector<std::string> own_arguments;
  std::optional<std::string> dockerfile_inline;
  bool is_wanted = true;  ///< else only another target's context
  /// Named contexts that are other targets: context, target.
  std::vector<std::pair<std::string, std::string>> needs;
};

struct BakePlan {
  std::vector<BakeTarget> targets;  ///< each after those it needs
  std::string printed;              ///< --print: JSON
};

Result<BakePlan> plan_bake(const BakeOptions& options);
/// --list: `what` is "targets" or "variables", or "type=targets,format=json". Their names, descriptions and values.
Result<std::string> list_bake(const BakeOptions& options, const std::string& what);

/// What was asked of a target (--call) and the answer, JSON.
struct BakeAnswer {
  std::string target, question, json;
};
/// The plan as it is printed, with the answers. JSON.
std::string bake_answers_json(const BakePlan& plan, const std::vector<BakeAnswer>& answers);

// The parts, each of JSON text.

/// A YAML document as JSON. Scalars other than null, true and false become strings. Anchors, aliases and "<<" are
/// resolved; at most 100,000 values.
Result<std::string> yaml_to_json(std::string_view text);
/// The services of a compose file that have a build section, as a bake file's "target" and "group".
Result<std::string> compose_to_bake(const std::string& compose_json,
                                    const std::function<std::optional<std::string>(const std::string&)>& environment);
/// A target's attributes as arguments of `dray build`.
Result<BakeTarget> bake_arguments(const std::string& name, const std::string& target_json);

}  // namespace dray::cli
