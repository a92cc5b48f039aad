// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cache_transfer/cache_transfer.hpp"
#include "dockerfile/text.hpp"

namespace dray::builder {
namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

std::string take(std::map<std::string, std::string>& attributes, const std::string& key) {
  const auto found = attributes.find(key);
  if (found == attributes.end()) return "";
  std::string value = std::move(found->second);
  attributes.erase(found);
  return value;
}

Result<CacheEnd> read_end(const TypedOptions& given, bool to) {
  CacheEnd end;
  const std::string flag = to ? "--cache-to" : "--cache-from";
  std::map<std::string, std::string> attributes = given.attributes;
  std::vector<std::string> known;
  if (given.type == "registry") {
    known = {"ref", "registry.insecure"};
  } else if (given.type == "local") {
    end.type = CacheEnd::Type::local;
    known = {to ? "dest" : "src", "tag"};
    if (!to) known.emplace_back("digest");
  } else if (given.type == "inline" && to) {
    end.type = CacheEnd::Type::in_image;
  } else if (given.type == "gha" || given.type == "s3" || given.type == "azblob") {
    return fail(ErrorCode::unsupported,
                flag + " type=" + given.type + " is not supported: use registry, local" + (to ? " or inline" : ""));
  } else {
    return invalid("unknown " + flag + " type \"" + given.type + "\"" +
                   did_you_mean(given.type, {"registry", "local", "inline"}) + ": use registry, local" +
                   (to ? " or inline" : ""));
  }
  if (to && end.type != CacheEnd::Type::in_image)
    known.insert(known.end(), {"mode", "image-manifest", "oci-mediatypes", "compression", "compression-level",
                               "force-compression", "ignore-error"});
  for (const auto& [key, value] : attributes)
    if (std::ranges::find(known, key) == known.end())
      return invalid(flag + " type=" + given.type + ": unknown key \"" + key + "\"" + did_you_mean(key, known));
  if (end.type == CacheEnd::Type::registry) {
    const std::string reference = take(attributes, "ref");
    if (reference.empty()) return invalid(flag + " type=registry: \"ref\" is missing");
    end.reference = TRY_CTX(Reference::parse(reference), flag + " ref");
    end.insecure = TRY(take_flag(attributes, "registry.insecure", false));
  } else if (end.type == CacheEnd::Type::local) {
    end.directory = take(attributes, to ? "dest" : "src");
    if (end.directory.empty()) return invalid(flag + " type=local: \"" + (to ? "dest" : "src") + "\" is missing");
    if (const std::string tag = take(attributes, "tag"); !tag.empty()) end.tag = tag;
    if (const std::string digest = take(attributes, "digest"); !digest.empty()) end.digest = TRY(Digest::parse(digest));
  }
  if (!to) return end;
  const std::string mode = take(attributes, "mode");
  if (!mode.empty() && mode != "min" && mode != "max") return invalid(flag + " mode \"" + mode + "\": use min or max");
  end.max = mode == "max";
  end.oci_types = TRY(take_flag(attributes, "oci-mediatypes", true));
  end.image_manifest = TRY(take_flag(attributes, "image-manifest", end.oci_types));
  if (end.image_manifest && !end.oci_types) return invalid(flag + ": image-manifest=true needs oci-mediatypes=true");
  end.ignore_error = TRY(take_flag(attributes, "ignore-error", false));
  end.compression = TRY_CTX(take_compression(attributes), flag);
  return end;
}

}  // namespace

std::string CacheEnd::name() const {
  return reference ? reference->canonical() : type == Type::local ? directory : "the image";
}

Result<CacheOptions> read_cache_options(const BuildRequest& request) {
  CacheOptions options;
  for (const TypedOptions& given : request.cache_from) options.from.push_back(TRY(read_end(given, false)));
  for (const TypedOptions& given : request.cache_to) {
    CacheEnd end = TRY(read_end(given, true));
    if (end.type == CacheEnd::Type::in_image) {
      options.in_image = true;
    } else {
      options.to.push_back(std::move(end));
    }
  }
  for (const auto& [name, value] : request.build_args)
    if (name == "BUILDKIT_INLINE_CACHE" && (value == "1" || value == "true")) options.in_image = true;
  return options;
}

}  // namespace dray::builder
