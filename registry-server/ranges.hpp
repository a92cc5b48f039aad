// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace dray::registry_server {

/// Bytes [first, first + size) of a blob.
struct Slice {
  std::uint64_t first = 0, size = 0;
};

/// The Range header for a blob of `total` bytes (RFC 9110 §14). `none`: send the whole, as for a malformed range,
/// another unit, or several ranges.
struct RangeAnswer {
  enum class Kind { none, partial, unsatisfiable };
  Kind kind = Kind::none;
  Slice slice;
};
RangeAnswer parse_range(std::string_view header, std::uint64_t total);

/// Content-Range of an upload's chunk: `^[0-9]+-[0-9]+$`, both ends inclusive. nullopt for anything else.
std::optional<Slice> parse_chunk_range(std::string_view header);

/// Digits only, no overflow.
std::optional<std::uint64_t> parse_number(std::string_view text);

}  // namespace dray::registry_server
