// SPDX-License-Identifier: Apache-2.0
// RUN: its argv (shell form, exec form, heredocs), its environment and its mounts.
#include <algorithm>

#include "dockerfile/parser.hpp"
#include "dockerfile/text.hpp"
#include "plan/stage_builder.hpp"
#include "plan/values.hpp"
#include "plan/wording.hpp"

namespace dray::builder {

namespace {

constexpr std::string_view kProxies[] = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"};

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

std::string base_name(const std::string& path) {
  const std::string clean = clean_path(path);
  return clean == "/" ? "" : clean.substr(clean.rfind('/') + 1);
}

}  // namespace

Result<void> StageBuilder::run(const RunInstruction& run) {
  RunOp op;
  std::string shown = command_->instruction->original;
  std::vector<std::string> args = run.command.args;
  if (!run.heredocs.empty()) {
    if (args.size() != 1 || !run.command.shell_form)
      return invalid("a heredoc cannot be given to the exec form of RUN");
    const Heredoc& first = run.heredocs[0];
    const auto alone = parse_heredoc(args[0]);
    if (alone && *alone) {
      std::string content = first.chomp ? chomp_heredoc(first.content) : first.content;
      if (content.starts_with("#!")) {
        args = {clean_path("/dev/pipes/" + first.name)};
        op.script = std::move(content);
      } else {
        args = {std::move(content)};
      }
      shown += " (" + summarize_heredoc(first.content) + ")";
    } else {  // the shell reads it
      for (const Heredoc& heredoc : run.heredocs) args[0] += "\n" + heredoc.content + heredoc.name;
    }
  }
  if (run.command.shell_form) args = with_shell(args);
  if (args.empty()) return invalid("RUN has no command");
  op.args = args;
  for (const std::string& arg : op.args)
    if (arg.contains('\0')) return invalid("RUN has a NUL byte in an argument");

  std::vector<int> inputs = {state_.vertex};
  TRY(add_mounts(run, op, inputs));
  op.env = state_.environment.list();
  op.proxy_env = proxies();
  op.working_dir = config().working_dir.empty() ? "/" : config().working_dir;
  op.user = config().user;
  op.network = run.network.empty() || run.network == "default" ? context_.options.network : run.network;
  op.insecure = run.security == "insecure";
  for (const DeviceFlag& device : run.devices) {
    op.devices.push_back(device.name);
    if (device.required) op.required_devices.push_back(device.name);
  }
  op.platform = state_.platform;
  const auto agent = std::find_if(op.mounts.begin(), op.mounts.end(),
                                  [](const RunMount& mount) { return mount.type == RunMount::Type::ssh; });
  if (agent != op.mounts.end() && !state_.environment.get("SSH_AUTH_SOCK"))
    op.env.push_back("SSH_AUTH_SOCK=" + agent->target);

  std::map<std::string, std::string> masked;
  for (const RunMount& mount : op.mounts)
    if (!mount.env.empty()) masked[mount.env] = "****";
  ShellLex lex = lex_;
  lex.raw_quotes = lex.skip_unset = true;
  std::string shown_title = title(lex, shown, masked);
  return layer(std::move(op), std::move(inputs), std::move(shown_title),
               "RUN " + arguments_text() + join(args, " ") + " # buildkit");
}

Result<void> StageBuilder::add_mounts(const RunInstruction& run, RunOp& op, std::vector<int>& inputs) {
  const ExpandWord expand_word = [this](const std::string& word) { return expand(word); };
  std::vector<MountFlag> mounts;
  for (const std::string& text : run.mounts) mounts.push_back(TRY(parse_mount(text, expand_word)));
  for (std::size_t i = 0; i < mounts.size(); ++i) TRY(add_mount(mounts[i], command_->sources.at(i), op, inputs));
  return {};
}

Result<std::string> StageBuilder::mount_target(const std::string& target) {
  const bool relative = !target.starts_with('/');
  std::string path = relative ? join_path(working_directory(), target) : clean_path(target);
  if (path == "/") return invalid("invalid mount target \"" + (relative ? path : target) + "\"");
  return path;
}

Result<void> StageBuilder::add_mount(const MountFlag& flag, int source, RunOp& op, std::vector<int>& inputs) {
  using Type = RunMount::Type;
  static const std::map<std::string, Type> kTypes = {{"bind", Type::bind},
                                                     {"cache", Type::cache},
                                                     {"tmpfs", Type::tmpfs},
                                                     {"secret", Type::secret},
                                                     {"ssh", Type::ssh}};
  RunMount mount;
  mount.type = kTypes.at(flag.type);
  mount.required = flag.required;
  mount.read_only = flag.read_only;
  mount.size = flag.size;
  mount.uid = flag.uid.value_or(0);
  mount.gid = flag.gid.value_or(0);
  mount.written_target = flag.target;
  if (flag.mode || flag.uid || flag.gid)
    mount.mode = flag.mode.value_or(mount.type == Type::cache ? 0755 : mount.type == Type::ssh ? 0600 : 0400);

  if (mount.type == Type::secret) {
    mount.id = !flag.source.empty() ? flag.source : !flag.id.empty() ? flag.id : base_name(flag.target);
    mount.env = flag.env.value_or("");
    if (!flag.target.empty())
      mount.target = TRY(mount_target(flag.target));
    else if (!flag.env)
      mount.target = "/run/secrets/" + base_name(mount.id);
    if (flag.target.empty()) mount.written_target = mount.target;
    op.mounts.push_back(std::move(mount));
    return {};
  }
  if (mount.type == Type::ssh) {
    const auto agents = std::count_if(op.mounts.begin(), op.mounts.end(),
                                      [](const RunMount& other) { return other.type == Type::ssh; });
    mount.default_id = flag.id.empty();
    mount.id = flag.id.empty() ? "default" : flag.id;
    mount.target =
        flag.target.empty() ? "/run/buildkit/ssh_agent." + std::to_string(agents) : TRY(mount_target(flag.target));
    if (flag.target.empty()) mount.written_target = mount.target;
    op.mounts.push_back(std::move(mount));
    return {};
  }

  mount.target = TRY(mount_target(flag.target));
  if (!flag.target.starts_with('/')) mount.written_target = mount.target;
  mount.source = clean_path(flag.source);
  int vertex = -1;
  if (source >= 0) {
    vertex = TRY(context_.builder.node_vertex(source));
    if (vertex < 0)
      return invalid("cannot mount from stage \"" + flag.from + "\" to \"" + flag.target +
                     "\", stage needs to be defined before current command");
  } else if (mount.type == Type::bind) {
    vertex = context_.builder.context_vertex();
  }
  if (source >= 0 || mount.type != Type::cache) context_.builder.reads(source, mount.source);
  if (mount.type == Type::tmpfs) vertex = -1;
  if (mount.type == Type::cache) {
    static const std::map<std::string, RunMount::Sharing> kSharing = {{"", RunMount::Sharing::shared},
                                                                      {"shared", RunMount::Sharing::shared},
                                                                      {"private", RunMount::Sharing::private_copy},
                                                                      {"locked", RunMount::Sharing::locked}};
    mount.sharing = kSharing.at(flag.sharing);
    mount.default_id = flag.id.empty();
    // As it was written: the same cache for the same line in every stage.
    mount.id = flag.id.empty() ? dray::clean_path(flag.target) : flag.id;
    const auto& given = context_.options.build_args;
    for (const auto& [name, value] : given)
      if (name == "BUILDKIT_CACHE_MOUNT_NS" && !value.empty()) mount.id = value + "/" + mount.id;
  }
  if (vertex >= 0) {
    const auto known = std::find(inputs.begin() + 1, inputs.end(), vertex);
    mount.input = static_cast<int>(known - inputs.begin());
    if (known == inputs.end()) inputs.push_back(vertex);
  }
  op.mounts.push_back(std::move(mount));
  return {};
}

/// "|2 A=x B=y ", the build arguments in scope.
std::string StageBuilder::arguments_text() const {
  std::vector<std::string> arguments;
  std::map<std::string_view, std::size_t> places;
  for (const KeyValue& arg : state_.build_args) {
    std::string text = arg.key + "=" + state_.environment.get(arg.key).value_or(arg.value);
    const auto [place, added] = places.try_emplace(arg.key, arguments.size());
    if (added)
      arguments.push_back(std::move(text));
    else
      arguments[place->second] = std::move(text);
  }
  if (arguments.empty()) return "";
  return "|" + std::to_string(arguments.size()) + " " + join(arguments, " ") + " ";
}

std::vector<std::string> StageBuilder::proxies() const {
  std::vector<std::string> list;
  for (const std::string_view name : kProxies) {
    const auto& given = context_.options.build_args;
    const auto found =
        std::find_if(given.rbegin(), given.rend(), [&](const auto& entry) { return to_lower(entry.first) == name; });
    if (found == given.rend()) continue;
    for (const std::string& key : {to_upper(name), std::string(name)})
      if (!state_.environment.get(key)) list.push_back(key + "=" + found->second);
  }
  return list;
}

}  // namespace dray::builder
