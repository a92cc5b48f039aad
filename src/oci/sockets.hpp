// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

namespace dray::oci {

/// Connects to a Unix stream socket. Longer paths than sun_path takes are reached through /proc/self/fd.
Result<FileDescriptor> connect_socket(const std::string& path);
/// One message with one descriptor.
Result<void> send_descriptor(FdRef socket, std::string_view payload, FdRef descriptor);

}  // namespace dray::oci
