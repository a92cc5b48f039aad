// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/core/output_file.hpp>

#include "export/compose.hpp"

namespace dray::builder {

/// "-" is standard output.
Result<OutputFile> create_output(const std::string& dest);

/// Into an OCI layout's directory, synced; one that is there with its size stays.
Result<void> write_layout_blob(store::Store& store, const Digest& blob, const std::string& layout);

/// type=oci and type=docker: an OCI image layout, with docker's manifest.json for `docker load`; a tar file or a
/// directory.
Result<void> export_layout(const ExportRequest& request, const OutputOptions& output, const ComposedImage& image,
                           const CancelToken& cancel);

}  // namespace dray::builder
