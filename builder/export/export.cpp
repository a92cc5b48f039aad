// SPDX-License-Identifier: Apache-2.0
// One output after another, each a step of its own in the progress.
#include "export/export.hpp"

#include <dray/core/process.hpp>

#include "export/archive.hpp"
#include "export/compose.hpp"
#include "export/files.hpp"

namespace dray::builder {
namespace {

using Type = OutputOptions::Type;

std::string title_of(const OutputOptions& output) {
  switch (output.type) {
    case Type::oci:
      return "exporting to oci image format";
    case Type::docker:
      return "exporting to docker image format";
    case Type::local:
      return "exporting to client directory";
    case Type::tar:
      return "exporting to client tarball";
    default:
      return "exporting to image";
  }
}

class Exporter {
 public:
  Exporter(const ExportRequest& request, ProgressSink& progress, const CancelToken& cancel)
      : request_(request), progress_(progress), cancel_(cancel) {}

  Result<BuildResult> run() {
    for (const OutputOptions& output : request_.outputs) {
      if (output.type == Type::cacheonly) continue;
      TRY(cancel_.check());
      step_ = request_.numbers.reserve();
      auto written = as_step(progress_, step_, title_of(output), [&] { return write(output); });
      if (!written && !output.dest.empty())
        return Failure(std::move(written).error().with_context("exporting to \"" + output.dest + "\""));
      if (!written) return Failure(std::move(written).error());
    }
    if (result_.image_id.empty() && !request_.images.empty())
      result_.image_id = Digest::of(image::serialize(request_.images.front().config));
    return std::move(result_);
  }

 private:
  Result<void> write(const OutputOptions& output) {
    if (output.type == Type::local) {
      report_status(progress_, step_, "copying files");
      return export_directory(request_, output, progress_, cancel_);
    }
    if (output.type == Type::tar) {
      report_status(progress_, step_, "sending tarball");
      return export_tar(request_, output, cancel_);
    }
    report_status(progress_, step_, "exporting layers");
    const ComposedImage image = TRY(compose_image(request_, output, cancel_));
    for (const ComposedManifest& made : image.images) {
      report_status(progress_, step_, "exporting manifest " + made.manifest.digest.to_string());
      report_status(progress_, step_, "exporting config " + made.config.to_string());
    }
    for (const image::Descriptor& made : image.attestations)
      report_status(progress_, step_, "exporting attestation manifest " + made.digest.to_string());
    if (image.is_index()) report_status(progress_, step_, "exporting manifest list " + image.top.digest.to_string());
    if (output.type != Type::image) {
      report_status(progress_, step_, "sending tarball");
      TRY(export_layout(request_, output, image, cancel_));
    } else {
      if (output.store) TRY(record(output, image, {}));
      if (output.push) TRY(push(output, image));
    }
    remember(output, image);
    return {};
  }

  /// The record is that of this host's platform, or else of the first.
  const ComposedManifest& preferred(const ComposedImage& image) const {
    for (const ComposedManifest& made : image.images)
      if (made.manifest.platform->matches(image::Platform::host())) return made;
    return image.images.front();
  }

  Result<void> record(const OutputOptions& output, const ComposedImage& image, const std::vector<std::string>& pushed) {
    const ComposedManifest& made = preferred(image);
    for (const ImageLayer& layer : made.layers) TRY(ensure_unpacked(request_.store, layer));
    store::ImageRecord record;
    record.manifest = made.manifest.digest;
    record.media_type = made.manifest.media_type;
    record.image_id = made.config;
    record.created_at = format_time_now();
    const std::string at_digest = "@" + image.top.digest.to_string();
    if (output.names.empty() && !output.dangling_prefix.empty()) {
      const Reference prefix = TRY(Reference::parse(output.dangling_prefix));
      record.repo_digests.push_back(prefix.domain() + "/" + prefix.repository() + at_digest);
    }
    if (output.names.empty()) return request_.store.put_image(record);
    for (const Reference& name : output.names) {
      record.reference = name.canonical();
      record.repo_digests.clear();
      const std::string repository = name.domain() + "/" + name.repository();
      const bool is_pushed = std::ranges::find(pushed, name.canonical()) != pushed.end();
      if (output.name_canonical || is_pushed) record.repo_digests.push_back(repository + at_digest);
      if (pushed.empty()) report_status(progress_, step_, "naming to " + record.reference);
      TRY(request_.store.put_image(record));
      if (image.is_index()) TRY(request_.store.put_image_index(record.reference, image.top));
    }
    return {};
  }

  Result<void> push(const OutputOptions& output, const ComposedImage& image) {
    if (request_.registry == nullptr) return fail(ErrorCode::unsupported, "pushing is not possible here");
    std::vector<std::string> pushed;
    for (const Reference& name : output.names) {
      const Reference target = output.push_by_digest ? name.with_digest(image.top.digest) : name;
      report_status(progress_, step_, "pushing manifest for " + name.canonical() + "@" + image.top.digest.to_string());
      StatusOf status(progress_, step_);
      TRY_CTX(request_.registry->push(image.top, target, {output.insecure}, status, cancel_),
              "pushing " + name.familiar());
      pushed.push_back(name.canonical());
    }
    return output.store ? record(output, image, pushed) : Result<void>();
  }

  /// The first image is the one that --iidfile and --metadata-file tell of.
  void remember(const OutputOptions& output, const ComposedImage& image) {
    for (const Reference& name : output.names)
      if (std::ranges::find(result_.tagged, name.canonical()) == result_.tagged.end())
        result_.tagged.push_back(name.canonical());
    if (result_.descriptor) return;
    result_.image_id = preferred(image).config;
    result_.manifest = image.top.digest;
    result_.descriptor = image.top;
  }

  const ExportRequest& request_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
  BuildResult result_;
  int step_ = 0;
};

}  // namespace

Result<BuildResult> export_images(const ExportRequest& request, ProgressSink& progress, const CancelToken& cancel) {
  return Exporter(request, progress, cancel).run();
}

}  // namespace dray::builder
