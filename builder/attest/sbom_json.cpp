// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "attest/attest.hpp"
#include "dockerfile/text.hpp"

namespace dray::builder {
namespace {

using nlohmann::json;

std::string percent(std::string_view text, std::string_view kept) {
  std::string result;
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (plain || std::string_view("-._~").contains(c) || kept.contains(c)) {
      result += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      result += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return result;
}

/// https://github.com/package-url/purl-spec
std::string package_url(const Package& package) {
  std::string url = "pkg:" + package.kind + "/";
  if (!package.distribution.empty() && package.kind != "npm" && package.kind != "pypi")
    url += percent(package.distribution.substr(0, package.distribution.find('-')), "") + "/";
  url += percent(package.kind == "pypi" ? to_lower(package.name) : package.name, package.kind == "npm" ? "/" : "");
  if (!package.version.empty()) url += "@" + percent(package.version, ":");
  std::string query;
  if (!package.architecture.empty()) query = "arch=" + percent(package.architecture, "");
  if (!package.distribution.empty())
    query += (query.empty() ? "distro=" : "&distro=") + percent(package.distribution, "");
  return query.empty() ? url : url + "?" + query;
}

}  // namespace

std::optional<Package> parse_package_json(const std::string& text) {
  constexpr int kMaxDepth = 64;
  bool too_deep = false;
  const json document = json::parse(
      text.begin(), text.end(),
      [&](int depth, json::parse_event_t, json&) {
        too_deep = too_deep || depth > kMaxDepth;
        return depth <= kMaxDepth;
      },
      false);
  if (too_deep || !document.is_object()) return std::nullopt;
  const auto text_of = [&](const char* key) {
    const auto found = document.find(key);
    return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  Package package;
  package.kind = "npm";
  package.name = text_of("name");
  package.version = text_of("version");
  package.license = text_of("license");
  if (package.name.empty() || package.version.empty()) return std::nullopt;
  return package;
}

Attestation make_sbom(const BuiltImage& image, const std::vector<Package>& packages) {
  json list = json::array(), relations = json::array();
  std::string identity;
  std::size_t number = 0;
  for (const Package& package : packages) {
    const std::string id = "SPDXRef-Package-" + std::to_string(++number);
    const std::string url = package_url(package);
    identity += url + "\n";
    list.push_back({{"SPDXID", id},
                    {"name", package.name},
                    {"versionInfo", package.version},
                    {"downloadLocation", "NOASSERTION"},
                    {"filesAnalyzed", false},
                    {"licenseConcluded", "NOASSERTION"},
                    // What packages call their licence is seldom an SPDX expression.
                    {"licenseDeclared", "NOASSERTION"},
                    {"licenseComments", package.license},
                    {"copyrightText", "NOASSERTION"},
                    {"sourceInfo", "acquired package info from: " + package.found_in},
                    {"externalRefs", json::array({{{"referenceCategory", "PACKAGE-MANAGER"},
                                                   {"referenceType", "purl"},
                                                   {"referenceLocator", url}}})}});
    relations.push_back(
        {{"spdxElementId", "SPDXRef-DOCUMENT"}, {"relatedSpdxElement", id}, {"relationshipType", "DESCRIBES"}});
  }
  for (const DiffId& layer : image.rootfs()) identity += layer.digest.to_string() + "\n";
  std::string created = image.config.created.substr(0, 19) + "Z";  // SPDX knows no fractions of a second
  const json document = {{"spdxVersion", "SPDX-2.3"},
                         {"dataLicense", "CC0-1.0"},
                         {"SPDXID", "SPDXRef-DOCUMENT"},
                         {"name", "sbom"},
                         {"documentNamespace", "https://dray.invalid/spdx/" + Digest::of(identity).hex()},
                         {"creationInfo", {{"created", created}, {"creators", {"Tool: dray"}}}},
                         {"packages", list},
                         {"relationships", relations}};
  return {"https://spdx.dev/Document", document.dump(-1, ' ', false, json::error_handler_t::replace), "sbom.spdx.json"};
}

}  // namespace dray::builder
