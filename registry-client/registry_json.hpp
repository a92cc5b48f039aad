// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>
#include <dray/registry/remote.hpp>

// All JSON of this part that is not an image document: registry_json.cpp is the only file that sees the JSON
// library.

namespace dray::registry {

/// One entry of a registry's {"errors": […]} (distribution-spec §error-codes).
struct RegistryError {
  std::string code;     ///< "MANIFEST_UNKNOWN"
  std::string message;  ///< at most 500 characters, printable
};
/// Also understands {"code":…,"message":…}, {"error":"…"} and {"details":"…"} of token servers. Empty for
/// anything else.
std::vector<RegistryError> parse_registry_errors(std::string_view body);

struct Token {
  std::string value;
  std::string refresh_token;  ///< an identity token, where one was asked for
  int expires_in_seconds = 60;
};
Result<Token> parse_token(std::string_view body);

/// What ~/.docker/config.json says about credentials.
struct DockerConfig {
  struct Auth {
    std::string username, password, identity_token, registry_token;
  };
  std::map<std::string, Auth> auths;
  std::map<std::string, std::string> helpers;  ///< credHelpers: registry -> helper's suffix
  std::string default_helper;                  ///< credsStore
};
Result<DockerConfig> parse_docker_config(std::string_view bytes);

/// The bytes of a config.json ("" = none yet) with the entry of `auths` set or taken out; what else is in it stays.
Result<std::string> set_auth(std::string_view bytes, const std::string& server, const DockerConfig::Auth& auth);
Result<std::string> remove_auth(std::string_view bytes, const std::string& server);

/// An index's answer to GET /v1/search; text is made printable.
Result<std::vector<SearchResult>> parse_search(std::string_view bytes);

/// What credential helpers speak.
struct HelperEntry {
  std::string username, secret;
};
Result<HelperEntry> parse_helper_entry(std::string_view bytes);
std::string encode_helper_entry(const std::string& server, const HelperEntry& entry);

/// A manifest or index as the registry sent it: refuses what is both at once, schema 1, and a mediaType that
/// contradicts the Content-Type (CVE-2021-41190). Returns the media type, "" where neither names one.
Result<std::string> check_document(std::string_view bytes, std::string_view content_type);

}  // namespace dray::registry
