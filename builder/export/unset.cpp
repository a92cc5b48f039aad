// SPDX-License-Identifier: Apache-2.0
#include "export/unset.hpp"

#include <algorithm>

#include "dockerfile/text.hpp"

namespace dray::builder {
namespace {

using image::ContainerConfig;

const std::vector<std::string> kNamed = {"env", "label", "volume", "expose"};
const std::vector<std::string> kPlain = {"cmd", "entrypoint", "user", "workdir", "healthcheck", "stopsignal"};

struct Target {
  std::string kind, name;  ///< name: "" = all
};

Result<Target> parse(const std::string& text) {
  const std::size_t equals = text.find('=');
  Target target{to_lower(std::string_view(text).substr(0, equals)),
                equals == std::string::npos ? "" : text.substr(equals + 1)};
  if (target.kind == "port" || target.kind == "exposed-port") target.kind = "expose";
  const bool named = std::ranges::find(kNamed, target.kind) != kNamed.end();
  const bool plain = std::ranges::find(kPlain, target.kind) != kPlain.end();
  if (!named && !plain) {
    std::vector<std::string> all = kNamed;
    all.insert(all.end(), kPlain.begin(), kPlain.end());
    return fail(ErrorCode::invalid_argument,
                "invalid --unset \"" + text + "\"" + did_you_mean(target.kind, all) +
                    ": use env, label, volume or expose, with =NAME or for all of them, or cmd, "
                    "entrypoint, user, workdir, healthcheck or stopsignal");
  }
  if (equals != std::string::npos && (plain || target.name.empty()))
    return fail(ErrorCode::invalid_argument,
                "invalid --unset \"" + text + "\": " + (plain ? target.kind + " takes no name" : "the name is empty"));
  if (target.kind == "expose" && !target.name.empty() && !target.name.contains('/')) target.name += "/tcp";
  return target;
}

bool erase_inherited(std::vector<std::string>& list, const std::vector<std::string>& inherited,
                     const std::function<bool(const std::string&)>& wanted) {
  return std::erase_if(list, [&](const std::string& item) {
           return wanted(item) && std::ranges::find(inherited, item) != inherited.end();
         }) > 0;
}

template <typename T>
bool reset_inherited(T& value, const T& inherited) {
  if (value == T{} || value != inherited) return false;
  value = T{};
  return true;
}

bool remove(const Target& target, const ContainerConfig& base, ContainerConfig& config) {
  const auto named = [&](const std::string& item) { return target.name.empty() || item == target.name; };
  if (target.kind == "env") {
    return erase_inherited(config.env, base.env,
                           [&](const std::string& item) { return named(item.substr(0, item.find('='))); });
  }
  if (target.kind == "label") {
    return std::erase_if(config.labels, [&](const auto& label) {
             const auto old = base.labels.find(label.first);
             return named(label.first) && old != base.labels.end() && old->second == label.second;
           }) > 0;
  }
  if (target.kind == "volume") return erase_inherited(config.volumes, base.volumes, named);
  if (target.kind == "expose") return erase_inherited(config.exposed_ports, base.exposed_ports, named);
  if (target.kind == "cmd") return reset_inherited(config.cmd, base.cmd);
  if (target.kind == "entrypoint") return reset_inherited(config.entrypoint, base.entrypoint);
  if (target.kind == "user") return reset_inherited(config.user, base.user);
  if (target.kind == "workdir") return reset_inherited(config.working_dir, base.working_dir);
  if (target.kind == "stopsignal") return reset_inherited(config.stop_signal, base.stop_signal);
  if (!config.healthcheck || !base.healthcheck || config.healthcheck->test != base.healthcheck->test) return false;
  config.healthcheck.reset();
  return true;
}

}  // namespace

Result<void> check_unset(const std::vector<std::string>& unset) {
  for (const std::string& text : unset) TRY(parse(text));
  return {};
}

Result<void> unset_inherited(const std::vector<std::string>& unset, const image::ImageConfig* base,
                             image::ImageConfig& config, ProgressSink& progress) {
  std::string done;
  for (const std::string& text : unset) {
    const Target target = TRY(parse(text));
    if (base != nullptr && remove(target, base->config, config.config)) {
      done += " " + text;
    } else {
      progress.report({.kind = ProgressEvent::Kind::message,
                       .text = "WARN: --unset " + text + ": nothing of that was inherited from the base"});
    }
  }
  if (done.empty()) return {};
  if (config.config.cmd.empty() && config.config.entrypoint.empty()) config.config.args_escaped = false;
  image::History entry;
  entry.created_by = "UNSET" + done + " # dray build --unset";
  entry.empty_layer = true;
  config.history.push_back(std::move(entry));
  return {};
}

}  // namespace dray::builder
