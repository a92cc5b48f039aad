// SPDX-License-Identifier: Apache-2.0
// dray bake: several builds side by side, each as `dray build` would do it. Every build has an engine of its own, as
// two processes would; what they share is the store.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>

#include <dray/builder/lint.hpp>
#include <dray/core/output_file.hpp>
#include <dray/core/text.hpp>
#include <dray/core/thread.hpp>
#include <dray/flags/flags.hpp>

#include "../command.hpp"
#include "../progress.hpp"
#include "bake_definition.hpp"
#include "bake_rights.hpp"
#include "build_command.hpp"

namespace dray::cli {
namespace {

constexpr std::size_t kMaxFile = 4u << 20;

/// In this order; those that exist are laid over each other.
constexpr const char* kDefaultFiles[] = {
    "compose.yaml",     "compose.yml",     "docker-compose.yml",        "docker-compose.yaml",
    "docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"};

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

/// As buildx: a variable turns the check of paths off.
Result<bool> checks_paths() {
  constexpr const char* kName = "BUILDX_BAKE_ENTITLEMENTS_FS";
  const auto value = environment(kName);
  if (!value || value->empty()) return true;
  const auto check = parse_bool(*value);
  if (!check) return fail(ErrorCode::invalid_argument, std::string(kName) + " must be 0 or 1, not \"" + *value + "\"");
  return *check;
}

Result<std::vector<BakeFile>> read_files(const std::vector<std::string>& names) {
  std::vector<BakeFile> files;
  for (const std::string& name : names) {
    if (name == "-") {
      files.push_back({"standard input", TRY_CTX(read_all(FdRef(0), kMaxFile), "reading standard input")});
    } else {
      files.push_back({name, TRY(read_file(name, kMaxFile))});
    }
  }
  if (!names.empty()) return files;
  if (const auto chosen = environment("BUILDX_BAKE_FILE"); chosen && !chosen->empty()) {
    const std::string separator = environment("BUILDX_BAKE_PATH_SEPARATOR").value_or(":");
    if (separator.size() != 1)
      return fail(ErrorCode::invalid_argument, "BUILDX_BAKE_PATH_SEPARATOR must be one character");
    return read_files(split(*chosen, separator[0]));
  }
  for (const char* name : kDefaultFiles)
    if (::access(name, F_OK) == 0) files.push_back({name, TRY(read_file(name, kMaxFile))});
  if (files.empty())
    return fail(ErrorCode::not_found,
                "there is no bake file here: name one with --file (docker-bake.hcl, docker-bake.json, compose.yaml)");
  return files;
}

/// One build's steps among those of others: numbers of their own, names that begin with the target.
class TargetProgress : public ProgressSink {
 public:
  TargetProgress(ProgressSink& outer, std::atomic<int>& numbers, std::string target)
      : outer_(outer), numbers_(numbers), target_(std::move(target)) {}
  void report(const ProgressEvent& event) override {
    ProgressEvent copy = event;
    if (event.id != 0) {
      std::lock_guard lock(mutex_);
      int& id = ids_[event.id];
      if (id == 0) id = ++numbers_;
      copy.id = id;
    }
    const bool title = event.kind != ProgressEvent::Kind::status && event.kind != ProgressEvent::Kind::warning;
    if (title && !event.name.empty())
      copy.name =
          event.name.starts_with('[') ? "[" + target_ + " " + event.name.substr(1) : "[" + target_ + "] " + event.name;
    outer_.report(copy);
  }

 private:
  ProgressSink& outer_;
  std::atomic<int>& numbers_;
  std::string target_;
  std::mutex mutex_;
  std::map<int, int> ids_;
};

struct TargetBuild {
  const BakeTarget* target = nullptr;
  BuildCommand command;
  std::string temporary;             ///< tag of a target that others use as a context
  std::optional<CallAnswer> answer;  ///< where its call is not "build"
  std::optional<Result<builder::BuildResult>> result;
};

class Bake {
 public:
  Bake(const Invocation& invocation, const CancelToken& cancel, ProgressSink& progress)
      : invocation_(invocation), cancel_(cancel), progress_(progress) {}

  Result<void> prepare(const BakePlan& plan, BakeRights rights) {
    const std::string run = random_hex(8);
    for (const BakeTarget& target : plan.targets) {
      TargetBuild build;
      build.target = &target;
      build.command = TRY_CTX(parse_build_command(target.arguments), "target \"" + target.name + "\"");
      std::set<BakeRight> own;
      if (!target.own_arguments.empty()) own = TRY(rights_of(TRY(parse_build_command(target.own_arguments)).request));
      rights.want(target.name, TRY(rights_of(build.command.request)), own);
      if (target.dockerfile_inline) build.command.request.dockerfile_text = target.dockerfile_inline;
      builds_.push_back(std::move(build));
    }
    TRY(rights.check());
    for (TargetBuild& build : builds_)
      for (const auto& [context, needed] : build.target->needs) {
        TargetBuild& other = *find(needed);
        if (other.temporary.empty())
          other.temporary = "localhost/dray-bake-" + run + ":" + std::to_string(&other - builds_.data());
        build.command.request.named_contexts.emplace_back(context, "docker-image://" + other.temporary);
      }
    return {};
  }

  /// All at once, each waiting for those it needs. The first error is returned; what needs a failed target is not
  /// begun.
  Result<void> run() {
    std::vector<std::thread> threads;
    for (TargetBuild& build : builds_) {
      auto thread = start_thread([this, &build] { run_one(build); });
      if (thread) {
        threads.push_back(*std::move(thread));
      } else {
        finish(build, Failure(std::move(thread).error()));
      }
    }
    for (std::thread& thread : threads) thread.join();
    Result<void> outcome;
    for (TargetBuild& build : builds_)
      if (outcome && !*build.result) outcome = Failure(build.result->error());
    auto removed = remove_temporary();
    if (outcome) outcome = std::move(removed);
    return outcome;
  }

  const std::vector<TargetBuild>& builds() const { return builds_; }

 private:
  TargetBuild* find(const std::string& name) {
    for (TargetBuild& build : builds_)
      if (build.target->name == name) return &build;
    return nullptr;  // plan_bake has made all that are needed
  }

  void run_one(TargetBuild& build) {
    auto result = wait_for_needs(build);
    auto built = result ? build_one(build) : Result<builder::BuildResult>(Failure(result.error()));
    if (!built && builds_.size() > 1)
      built = Failure(std::move(built).error().with_context("target " + build.target->name));
    finish(build, std::move(built));
  }

  void finish(TargetBuild& build, Result<builder::BuildResult> built) {
    std::lock_guard lock(mutex_);
    build.result = std::move(built);
    changed_.notify_all();
  }

  Result<void> wait_for_needs(const TargetBuild& build) {
    std::unique_lock lock(mutex_);
    for (const auto& [context, needed] : build.target->needs) {
      TargetBuild* other = find(needed);
      changed_.wait(lock, [other] { return other->result.has_value(); });
      if (!*other->result) return fail(ErrorCode::cancelled, "it needs target " + needed + ", which failed");
    }
    return {};
  }

  Result<builder::BuildResult> build_one(TargetBuild& build) {
    TargetProgress progress(progress_, numbers_, build.target->name);
    ProgressSink& sink = builds_.size() > 1 ? static_cast<ProgressSink&>(progress) : progress_;
    engine::Context context = TRY(open_engine(invocation_));
    builder::BuildResult built;
    const bool asks = !build.command.call.is_build(), builds = !asks && build.target->is_wanted;
    builder::BuildRequest request = build.command.request;
    if (!build.temporary.empty()) {
      if (builds && request.outputs.empty()) {
        request.tags.push_back(build.temporary);  // the image goes to the store anyway
      } else {
        built = TRY(build_context_image(context, build, sink));
        request.no_cache = request.always_pull = false;  // obeyed already
        request.no_cache_filter.clear();
      }
    }
    if (builds) built = TRY(engine::build_image(context, request, build.command.options, sink, cancel_));
    if (asks) build.answer = TRY(answer_call(context, build.command, sink, cancel_));
    return built;
  }

  /// What other targets need of it: the image, under its temporary name, and nothing anywhere else.
  Result<builder::BuildResult> build_context_image(engine::Context& context, const TargetBuild& build,
                                                   ProgressSink& sink) {
    builder::BuildRequest request = build.command.request;
    request.tags = {build.temporary};
    request.outputs.clear();
    request.cache_to.clear();
    request.attestations.clear();
    return engine::build_image(context, request, build.command.options, sink, cancel_);
  }

  /// Also of targets that failed later. The first error is returned.
  Result<void> remove_temporary() {
    Result<void> outcome;
    for (const TargetBuild& build : builds_) {
      if (build.temporary.empty()) continue;
      engine::Context context = TRY(open_engine(invocation_));
      auto removed = engine::remove_image(context, build.temporary, false);
      if (!removed && removed.error().code() != ErrorCode::not_found && outcome)
        outcome = Failure(std::move(removed).error());
    }
    return outcome;
  }

  const Invocation& invocation_;
  const CancelToken& cancel_;
  ProgressSink& progress_;
  std::vector<TargetBuild> builds_;
  std::atomic<int> numbers_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// "true" and "false" mean the kind as such; else its parameters.
std::string attestation_words(const std::string& kind, const std::string& value) {
  if (const auto wanted = parse_bool(value)) return "type=" + kind + ",disabled=" + (*wanted ? "false" : "true");
  return "type=" + kind + (value.empty() ? "" : "," + value);
}

/// The error, and the lines that it is about.
int refused(const BakeOptions& options, const Error& error) {
  const int code = report(error);
  const std::string& place = error.location();
  for (const BakeFile& file : options.files) {
    if (!place.starts_with(file.name + ":")) continue;
    const int line = std::atoi(place.c_str() + file.name.size() + 1);
    if (line > 0) print_error(printable(builder::source_excerpt(file.text, file.name, line, line)));
    break;
  }
  return code;
}

/// By the targets' names, as buildx. The exit code is that of the first one that has one.
int print_answers(const BakePlan& plan, const std::vector<TargetBuild>& builds, bool as_json) {
  std::map<std::string, const TargetBuild*> answered;
  for (const TargetBuild& build : builds)
    if (build.answer) answered[build.target->name] = &build;
  int exit_code = 0;
  std::vector<BakeAnswer> answers;
  const char* separator = "";
  for (const auto& [name, build] : answered) {
    if (exit_code == 0) exit_code = build->answer->exit_code;
    if (as_json) {
      answers.push_back({name, build->command.call.question, build->answer->text});
      continue;
    }
    const std::string& description = build->target->description;
    print(separator + printable(name + "\n" + (description.empty() ? "" : description + "\n")) + "\n");
    print(*build->answer);
    separator = "\n";
  }
  if (as_json) print(bake_answers_json(plan, answers));
  return exit_code;
}

Result<int> bake(Invocation& invocation) {
  BakeOptions options;
  std::vector<std::string> files, variables, allowed;
  std::string progress_kind, metadata_file, call, list;
  std::optional<std::string> provenance, sbom;
  bool print_only = false, debug = false, check = false;
  Flags flags("dray bake", "[OPTIONS] [TARGET...]",
              "Build the targets of a bake file (docker-bake.hcl, docker-bake.json) or compose file, side by side.");
  flags.list("--allow", allowed,
             "Let the file's targets use more than the working directory: network.host, security.insecure, "
             "device[=NAME], ssh, fs=PATH, fs.read=PATH, fs.write=PATH (* for all paths)");
  flags.option("--call", call, "Ask instead of building, of all targets: check, outline or targets (,format=json)");
  flags.flag("--check", check, "Check the Dockerfiles instead of building (--call=check)");
  flags.flag("-D,--debug", debug, "Explain warnings, with the lines they are about");
  flags.list("-f,--file", files, "Bake or compose file (default: docker-bake.hcl, docker-bake.json, compose.yaml, …)");
  flags.option("--list", list, "List targets or variables (also type=targets,format=json)");
  flags.flag("--load", options.load,
             "Put the images into the image store, too (--set=*.output+=type=docker, unless they become files)");
  flags.option("--metadata-file", metadata_file, "Write the builds' digests and names to a file, as JSON");
  flags.flag("--no-cache", options.no_cache, "Do not use cache when building the images");
  flags.flag("--print", print_only, "Print what would be built, as JSON");
  flags.option("--progress", progress_kind, "Type of progress output (auto, plain, tty, rawjson, quiet)");
  flags.option("--provenance", provenance, "Provenance attestation of all targets (true, false, mode=max)");
  flags.flag("--pull", options.pull, "Always attempt to pull all referenced images");
  flags.flag("--push", options.push, "Push the images (--set=*.output+=type=registry, unless they become files)");
  flags.option("--sbom", sbom, "SBOM attestation of all targets (true or false)");
  flags.list("--set", options.sets, "Override a target's value (such as TARGETPATTERN.KEY=VALUE)");
  flags.list("--var", variables, "Set a variable's value (such as NAME=VALUE)");
  flags.operands(options.targets, 0, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (options.load && options.push)
    return fail(ErrorCode::invalid_argument, "--push and --load are opposites: give one of them");
  CallWords asked = TRY(parse_call(call.empty() ? "build" : call));
  if (check) asked.question = "check";
  asked.json = asked.json && asked.question != "build";
  if (check || !call.empty()) options.call = asked.json ? asked.question + ",format=json" : asked.question;
  if (provenance) options.attestations.emplace_back("provenance", attestation_words("provenance", *provenance));
  if (sbom) options.attestations.emplace_back("sbom", attestation_words("sbom", *sbom));
  BakeRights rights = TRY(BakeRights::parse(allowed, TRY(checks_paths())));
  options.environment = [&variables](const std::string& name) -> std::optional<std::string> {
    for (auto variable = variables.rbegin(); variable != variables.rend(); ++variable)
      if (variable->starts_with(name + "=")) return variable->substr(name.size() + 1);
    return environment(name);
  };
  options.files = TRY(read_files(files));
  if (!list.empty()) {
    auto listed = list_bake(options, list);
    if (!listed) return refused(options, listed.error());
    print(printable(*listed));
    return 0;
  }
  auto planned = plan_bake(options);
  if (!planned) return refused(options, planned.error());
  const BakePlan plan = *std::move(planned);
  if (print_only) {
    print(plan.printed);
    return 0;
  }
  CancelToken& cancel = install_cancel_handlers();
  auto progress = TRY(make_progress(progress_kind, {.expand_warnings = debug}));
  Bake bake(invocation, cancel, *progress);
  TRY(bake.prepare(plan, std::move(rights)));
  auto outcome = bake.run();
  progress.reset();
  TRY(std::move(outcome));
  if (!metadata_file.empty()) {
    std::vector<std::pair<std::string, builder::BuildResult>> results;
    for (const TargetBuild& build : bake.builds())
      if (build.command.call.is_build()) results.emplace_back(build.target->name, **build.result);
    TRY(write_output_file(metadata_file, bake_metadata_json(results)));
  }
  return print_answers(plan, bake.builds(), asked.json);
}

}  // namespace

int command_bake(Invocation& invocation) {
  auto result = bake(invocation);
  return result ? *result : report(result.error());
}

}  // namespace dray::cli
