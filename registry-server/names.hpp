// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

// The grammars of distribution-spec §pull. What does not match never reaches the database, and no name reaches the
// file system: files are named by digest only.

namespace dray::registry_server {

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*`, at most 255 characters.
bool is_repository_name(std::string_view name);
/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
bool is_tag(std::string_view tag);
/// RFC 6838's type/subtype, as it may stand in a Content-Type.
bool is_media_type(std::string_view type);

}  // namespace dray::registry_server
