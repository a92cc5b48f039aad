// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/core/progress.hpp>
#include <dray/engine/engine.hpp>

namespace dray::cli {

/// One run of the program: what the global flags say, and the command's own arguments.
struct Invocation {
  std::string root, state, storage_driver, configuration_path;  ///< "" = default
  std::vector<std::string> arguments;
};

/// Exit codes (Docker's): a failing engine is 125 for commands that run a container, else 1.
enum class Kind { plain, runs_container };

/// Prints "dray: …" with hint to stderr (control characters escaped) and returns the exit code for it.
int report(const Error& error, Kind kind = Kind::plain);
/// The exit code, or what report() says of the error.
int finish(const Result<int>& result, Kind kind = Kind::plain);

/// "true" or "1", "false" or "0": the value of a --filter.
Result<bool> parse_filter_flag(const std::string& key, const std::string& value);

/// Configuration and store, opened.
Result<engine::Context> open_engine(const Invocation& invocation);

/// The configuration alone, for commands that need no store.
Result<engine::Configuration> read_configuration(const Invocation& invocation);

/// Ctrl-C or SIGTERM sets the token; a second one ends the program at once. For long commands without a session.
CancelToken& install_cancel_handlers();

/// Text from images, registries or containers for a terminal: control bytes become \xNN. Payload (logs, attach) is
/// never passed here.
std::string printable(std::string_view text);

/// stdout, checked at the end: a full disk behind `dray save > file` must not look like success.
void print(std::string_view text);
void print_error(std::string_view text);

using CommandFunction = int (*)(Invocation& invocation);

// One function a command, in commands/<subject>.cpp.
int command_attach(Invocation&);
int command_bake(Invocation&);
int command_bootstrap(Invocation&);
int command_build(Invocation&);
int command_builder_ast(Invocation&);
int command_builder_du(Invocation&);
int command_builder_plan(Invocation&);
int command_builder_prune(Invocation&);
int command_cache_mount(Invocation&);
int command_check(Invocation&);
int command_cleanup(Invocation&);
int command_copy(Invocation&);
int command_create(Invocation&);
int command_exec(Invocation&);
int command_export(Invocation&);
int command_diff_images(Invocation&);
int command_disk_usage(Invocation&);
int command_history(Invocation&);
int command_images(Invocation&);
int command_import(Invocation&);
int command_info(Invocation&);
int command_inspect(Invocation&);
int command_inspect_container(Invocation&);
int command_inspect_image(Invocation&);
int command_kill(Invocation&);
int command_load(Invocation&);
int command_login(Invocation&);
int command_logout(Invocation&);
int command_logs(Invocation&);
int command_manifest_annotate(Invocation&);
int command_manifest_create(Invocation&);
int command_manifest_inspect(Invocation&);
int command_manifest_push(Invocation&);
int command_manifest_remove(Invocation&);
int command_prune(Invocation&);
int command_prune_containers(Invocation&);
int command_prune_images(Invocation&);
int command_prune_volumes(Invocation&);
int command_ps(Invocation&);
int command_pull(Invocation&);
int command_push(Invocation&);
int command_registry_catalog(Invocation&);
int command_registry_remove(Invocation&);
int command_registry_tags(Invocation&);
int command_registry_gc(Invocation&);
int command_registry_serve(Invocation&);
int command_restart(Invocation&);
int command_restart_by_policy(Invocation&);
int command_rm(Invocation&);
int command_rmi(Invocation&);
int command_run(Invocation&);
int command_save(Invocation&);
int command_search(Invocation&);
int command_start(Invocation&);
int command_start_containers(Invocation&);
int command_stop(Invocation&);
int command_tag(Invocation&);
int command_version(Invocation&);
int command_volume_create(Invocation&);
int command_volume_list(Invocation&);
int command_volume_remove(Invocation&);
int command_wait(Invocation&);

}  // namespace dray::cli
