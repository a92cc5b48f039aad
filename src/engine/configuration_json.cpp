// SPDX-License-Identifier: Apache-2.0
// daemon.json: Docker's words for what Dray has, plus "trust-host-ca". A key that does nothing is refused: a setting
// that is silently ignored is worse than a message.
#include <charconv>

#include <nlohmann/json.hpp>

#include <dray/core/fd.hpp>
#include <dray/engine/engine.hpp>

namespace dray::engine {
namespace {

using json = nlohmann::json;

Failure wrong_type(const std::string& path, const std::string& key, const char* wanted) {
  return fail(ErrorCode::invalid_argument, "\"" + path + "\": key \"" + key + "\" must be " + wanted);
}

Result<std::vector<std::string>> strings(const std::string& path, const std::string& key, const json& value) {
  std::vector<std::string> texts;
  if (!value.is_array()) return wrong_type(path, key, "an array of strings");
  for (const auto& item : value) {
    if (!item.is_string()) return wrong_type(path, key, "an array of strings");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

Result<void> add_mirrors(Configuration& configuration, const std::string& path, const std::string& key,
                         const std::string& registry, const json& value) {
  for (const std::string& url : TRY(strings(path, key, value))) {
    if (!url.starts_with("https://") && !url.starts_with("http://"))
      return wrong_type(path, key, "an array of URLs (https://…)");
    configuration.registry_mirrors.emplace_back(registry, url);
  }
  return {};
}

/// "registries": {"quay.io": {"mirrors": […], "insecure": false}}
Result<void> add_registries(Configuration& configuration, const std::string& path, const json& value) {
  if (!value.is_object()) return wrong_type(path, "registries", "an object of registries");
  for (const auto& [registry, settings] : value.items()) {
    const std::string where = "registries." + registry;
    if (!settings.is_object()) return wrong_type(path, where, "an object");
    for (const auto& [key, item] : settings.items()) {
      if (key == "mirrors") {
        TRY(add_mirrors(configuration, path, where + ".mirrors", registry, item));
      } else if (key == "insecure" && item.is_boolean()) {
        if (item.get<bool>()) configuration.insecure_registries.push_back(registry);
      } else if (key == "insecure") {
        return wrong_type(path, where + ".insecure", "true or false");
      } else {
        return Failure(Error(ErrorCode::invalid_argument, "\"" + path + "\": unknown key \"" + where + "." + key + "\"")
                           .with_hint("known keys: mirrors, insecure"));
      }
    }
  }
  return {};
}

/// A number of bytes, or text with a unit ("20GB", powers of 1000 as in daemon.json; "512MiB").
std::optional<std::uint64_t> bytes_of(const json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (!value.is_string()) return std::nullopt;
  const std::string text = value.get<std::string>();
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.empty() || unit == "B" || unit == "b") return number;
  const std::size_t power = std::string_view("kmgt").find(static_cast<char>(unit.front() | 0x20));
  if (power == std::string_view::npos) return std::nullopt;
  unit.remove_prefix(1);
  const std::uint64_t base = unit == "iB" || unit == "ib" ? 1024 : 1000;
  if (!unit.empty() && unit != "B" && unit != "b" && base == 1000) return std::nullopt;
  for (std::size_t i = 0; i <= power; ++i)
    if (__builtin_mul_overflow(number, base, &number)) return std::nullopt;
  return number;
}

/// {"gc": {"enabled": true, "defaultMaxUsedSpace": "20GB", "defaultReservedSpace": …, "defaultMinFreeSpace": …,
/// "defaultKeepStorage": … (the old name of the reserve), "keepDuration": "1440h"}}
Result<void> apply_builder(BuildCacheLimits& limits, const std::string& path, const json& value) {
  if (!value.is_object()) return wrong_type(path, "builder", "an object");
  for (const auto& [key, gc] : value.items()) {
    if (key != "gc")
      return Failure(Error(ErrorCode::invalid_argument, "\"" + path + "\": unknown key \"builder." + key + "\"")
                         .with_hint("known keys: builder.gc"));
    if (!gc.is_object()) return wrong_type(path, "builder.gc", "an object");
    for (const auto& [name, item] : gc.items()) {
      const std::optional<std::uint64_t> bytes = bytes_of(item);
      const std::string full = "builder.gc." + name;
      if (name == "enabled") {
        if (!item.is_boolean()) return wrong_type(path, full, "true or false");
        limits.enabled = item.get<bool>();
      } else if (name == "keepDuration") {
        const std::string text = item.is_string() ? item.get<std::string>() : "";
        std::int64_t hours = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), hours);
        if (error != std::errc() || hours < 0 || hours > 1'000'000 || std::string_view(end) != "h")
          return wrong_type(path, full, "hours, such as \"1440h\"");
        limits.keep_seconds = hours * 3600;
      } else if (name == "defaultMaxUsedSpace" || name == "defaultReservedSpace" || name == "defaultMinFreeSpace" ||
                 name == "defaultKeepStorage") {
        if (!bytes) return wrong_type(path, full, "a size, such as \"20GB\"");
        if (name == "defaultMaxUsedSpace")
          limits.max_used_space = bytes;
        else if (name == "defaultMinFreeSpace")
          limits.min_free_space = bytes;
        else
          limits.reserved_space = *bytes;
      } else {
        return Failure(Error(ErrorCode::invalid_argument, "\"" + path + "\": unknown key \"" + full + "\"")
                           .with_hint("known keys: enabled, defaultMaxUsedSpace, defaultReservedSpace, "
                                      "defaultMinFreeSpace, defaultKeepStorage, keepDuration"));
      }
    }
  }
  return {};
}

Result<void> apply(Configuration& configuration, const std::string& path, const std::string& key, const json& value) {
  if (key == "data-root" || key == "exec-root") {
    if (!value.is_string() || !value.get<std::string>().starts_with('/'))
      return wrong_type(path, key, "an absolute path");
    (key == "data-root" ? configuration.root : configuration.state) = value.get<std::string>();
  } else if (key == "insecure-registries") {
    for (std::string& registry : TRY(strings(path, key, value)))
      configuration.insecure_registries.push_back(std::move(registry));
  } else if (key == "registry-mirrors") {
    TRY(add_mirrors(configuration, path, key, "docker.io", value));
  } else if (key == "registries") {
    TRY(add_registries(configuration, path, value));
  } else if (key == "trust-host-ca") {
    if (!value.is_boolean()) return wrong_type(path, key, "true or false");
    configuration.trust_host_ca = value.get<bool>();
  } else if (key == "storage-driver") {
    if (!value.is_string()) return wrong_type(path, key, "a string");
    const auto driver = TRY_CTX(store::parse_storage_driver(value.get<std::string>()), "\"" + path + "\"");
    configuration.storage_driver = store::DriverWish(driver, "\"storage-driver\" in \"" + path + "\"");
  } else if (key == "builder") {
    TRY(apply_builder(configuration.build_cache, path, value));
  } else {
    return Failure(Error(ErrorCode::invalid_argument, "\"" + path + "\": unknown key \"" + key + "\"")
                       .with_hint("known keys: builder, data-root, exec-root, insecure-registries, registries, "
                                  "registry-mirrors, storage-driver, trust-host-ca"));
  }
  return {};
}

}  // namespace

Result<Configuration> load_configuration(const std::string& path) {
  Configuration configuration;
  auto text = read_file(path, 1u << 20);
  if (!text) {
    if (text.error().code() == ErrorCode::not_found) return configuration;
    return Failure(std::move(text).error());
  }
  json value = json::parse(*text, nullptr, false);
  if (!value.is_object()) return fail(ErrorCode::invalid_argument, "\"" + path + "\" is not a JSON object");
  for (const auto& [key, item] : value.items()) TRY(apply(configuration, path, key, item));
  return configuration;
}

}  // namespace dray::engine
