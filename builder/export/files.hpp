// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "export/export.hpp"

namespace dray::builder {

/// type=local: the files of each platform's root filesystem in a directory. Devices are left out, with a warning.
Result<void> export_directory(const ExportRequest& request, const OutputOptions& output, ProgressSink& progress,
                              const CancelToken& cancel);
/// type=tar: the same as one tar, owners kept.
Result<void> export_tar(const ExportRequest& request, const OutputOptions& output, const CancelToken& cancel);

}  // namespace dray::builder
