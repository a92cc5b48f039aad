// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <dray/core/result.hpp>

// What containerd, Podman and Docker read when something is wrong: lines as logrus writes them, which runc uses.

namespace dray::oci {

enum class LogFormat { text, json };

/// Once, before anything is logged: `path` "" = standard error.
Result<void> open_log(const std::string& path, LogFormat format, bool debug);

void log_debug(std::string_view message);
void log_warning(std::string_view message);
/// Where the log is a file, the message goes to standard error as well.
void log_error(std::string_view message);

}  // namespace dray::oci
