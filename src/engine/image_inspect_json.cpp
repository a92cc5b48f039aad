// SPDX-License-Identifier: Apache-2.0
// `image inspect` in the shape of Docker's Engine API. Key order is Docker's, for the eyes; programs do not care.
#include <nlohmann/json.hpp>

#include "images_private.hpp"
#include "platform_images.hpp"

namespace dray::engine {
namespace {

using json = nlohmann::ordered_json;

json list_or_null(const std::vector<std::string>& values) { return values.empty() ? json(nullptr) : json(values); }

json object_of_keys(const std::vector<std::string>& keys) {
  json object = json::object();
  for (const auto& key : keys) object[key] = json::object();
  return object;
}

json health_json(const image::Healthcheck& check) {
  json value = {{"Test", check.test}};
  if (check.interval_ns != 0) value["Interval"] = check.interval_ns;
  if (check.timeout_ns != 0) value["Timeout"] = check.timeout_ns;
  if (check.start_period_ns != 0) value["StartPeriod"] = check.start_period_ns;
  if (check.start_interval_ns != 0) value["StartInterval"] = check.start_interval_ns;
  if (check.retries != 0) value["Retries"] = check.retries;
  return value;
}

json config_json(const image::ContainerConfig& config) {
  json value = {{"Hostname", ""},       {"Domainname", ""},      {"User", config.user},
                {"AttachStdin", false}, {"AttachStdout", false}, {"AttachStderr", false}};
  if (!config.exposed_ports.empty()) value["ExposedPorts"] = object_of_keys(config.exposed_ports);
  value["Tty"] = false;
  value["OpenStdin"] = false;
  value["StdinOnce"] = false;
  value["Env"] = list_or_null(config.env);
  value["Cmd"] = list_or_null(config.cmd);
  if (config.healthcheck) value["Healthcheck"] = health_json(*config.healthcheck);
  if (config.args_escaped) value["ArgsEscaped"] = true;
  value["Image"] = "";
  value["Volumes"] = config.volumes.empty() ? json(nullptr) : object_of_keys(config.volumes);
  value["WorkingDir"] = config.working_dir;
  value["Entrypoint"] = list_or_null(config.entrypoint);
  value["OnBuild"] = list_or_null(config.on_build);
  value["Labels"] = config.labels.empty() ? json(nullptr) : json(config.labels);
  if (!config.stop_signal.empty()) value["StopSignal"] = config.stop_signal;
  if (!config.shell.empty()) value["Shell"] = config.shell;
  return value;
}

std::string familiar(const std::string& name) {
  auto reference = Reference::parse(name);
  return reference ? reference->familiar() : name;
}

}  // namespace

Result<std::string> inspect_image(Context& context, const std::string& name,
                                  const std::optional<image::Platform>& platform) {
  auto found = context.store->resolve_image(name);
  if (!found) return Failure(no_such_image(std::move(found).error(), name));
  const store::LoadedImage image = TRY(image_for(context, name, platform));
  const Digest id = image.manifest.config.digest;
  json tags = json::array(), digests = json::array(), layers = json::array();
  std::string tagged_at;
  auto records = TRY(context.store->list_images());
  for (const auto& record : records) {
    if (record.image_id != id) continue;
    if (!record.reference.empty()) {
      tags.push_back(familiar(record.reference));
      tagged_at = std::max(tagged_at, record.created_at);
    }
    for (const auto& digest : record.repo_digests) digests.push_back(familiar(digest));
  }
  for (const auto& layer : image.config.diff_ids) layers.push_back(layer.digest.to_string());
  const image::Platform& built_for = image.config.platform;
  json value = {{"Id", id.to_string()}, {"RepoTags", tags}, {"RepoDigests", digests}, {"Parent", ""}};
  value["Comment"] = image.config.history.empty() ? "" : image.config.history.back().comment;
  value["Created"] = image.config.created;
  value["DockerVersion"] = "";
  value["Author"] = image.config.author;
  value["Config"] = config_json(image.config.config);
  value["Architecture"] = built_for.architecture;
  if (!built_for.variant.empty()) value["Variant"] = built_for.variant;
  value["Os"] = built_for.os;
  value["Size"] = image.size;
  value["GraphDriver"] = {{"Data", nullptr}, {"Name", store::name_of(context.store->snapshots().driver())}};
  value["RootFS"] = {{"Type", "layers"}, {"Layers", layers}};
  value["Metadata"] = {{"LastTagTime", tagged_at.empty() ? "0001-01-01T00:00:00Z" : tagged_at}};
  value["Descriptor"] = {{"mediaType", image.record.media_type}, {"digest", image.record.manifest.to_string()}};
  return value.dump(4, ' ', false, json::error_handler_t::replace);
}

}  // namespace dray::engine
