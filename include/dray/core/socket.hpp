// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

namespace dray {

struct Received {
  std::size_t size = 0;  ///< 0 at the end
  bool truncated = false;
  FileDescriptor descriptor;  ///< that lay beside it; invalid if none did
};

/// A message of a Unix socket and the descriptor it may bring. `flags` of recvmsg(2).
Result<Received> receive_with_descriptor(FdRef socket, std::span<std::byte> buffer, int flags = 0);

}  // namespace dray
