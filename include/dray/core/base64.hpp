// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace dray {

/// RFC 4648 §4, padded.
std::string encode_base64(std::string_view bytes);

}  // namespace dray
