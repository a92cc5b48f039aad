// SPDX-License-Identifier: Apache-2.0
// Each key is taken out of the attributes by whoever understands it; what is left then is a mistake.
#include "export/output_options.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "dockerfile/text.hpp"

namespace dray::builder {
namespace {

using Attributes = std::map<std::string, std::string>;
using Type = OutputOptions::Type;

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

std::string take(Attributes& attributes, const std::string& key) {
  const auto found = attributes.find(key);
  if (found == attributes.end()) return "";
  std::string value = std::move(found->second);
  attributes.erase(found);
  return value;
}

Result<Type> parse_type(const std::string& type) {
  if (type == "image" || type == "registry") return Type::image;
  if (type == "oci") return Type::oci;
  if (type == "docker") return Type::docker;
  if (type == "local") return Type::local;
  if (type == "tar") return Type::tar;
  if (type == "cacheonly") return Type::cacheonly;
  return invalid("unknown output type \"" + type + "\"" +
                 did_you_mean(type, {"image", "registry", "oci", "docker", "local", "tar", "cacheonly"}) +
                 ": use local, tar, oci, docker, image, registry or cacheonly");
}

std::vector<std::string> known_keys(Type type) {
  if (type == Type::cacheonly) return {};
  if (type == Type::local) return {"dest", "platform-split", "mode", "attestation-prefix"};
  if (type == Type::tar) return {"dest", "platform-split", "attestation-prefix"};
  std::vector<std::string> keys = {"name",           "compression",       "compression-level", "force-compression",
                                   "oci-mediatypes", "rewrite-timestamp", "oci-artifact"};
  if (type == Type::image) {
    keys.insert(keys.end(), {"push", "push-by-digest", "registry.insecure", "store", "unpack", "name-canonical",
                             "dangling-name-prefix"});
  } else {
    keys.insert(keys.end(), {"dest", "tar"});
  }
  return keys;
}

/// "annotation-index[linux/amd64].KEY" or "index[linux/amd64]", without the key: nullopt where it is no level.
Result<std::optional<Annotation>> parse_level(std::string_view text) {
  Annotation annotation;
  if (text.ends_with(']')) {
    const std::size_t open = text.find('[');
    if (open == std::string_view::npos) return std::optional<Annotation>();
    annotation.platform = TRY(image::Platform::parse(text.substr(open + 1, text.size() - open - 2)));
    text = text.substr(0, open);
  }
  if (text == "manifest") {
    annotation.level = Annotation::Level::manifest;
  } else if (text == "index") {
    annotation.level = Annotation::Level::index;
  } else if (text == "manifest-descriptor") {
    annotation.level = Annotation::Level::manifest_descriptor;
  } else if (text == "index-descriptor") {
    annotation.level = Annotation::Level::index_descriptor;
  } else {
    return std::optional<Annotation>();
  }
  return std::optional<Annotation>(std::move(annotation));
}

/// --annotation's keys: "index,manifest[linux/arm64]:KEY". A colon may be part of a key without levels.
Result<std::vector<Annotation>> annotations_of(const std::string& key, const std::string& value) {
  std::vector<Annotation> annotations;
  const std::size_t colon = key.find(':');
  if (colon != std::string::npos) {
    for (std::size_t begin = 0; begin <= colon;) {
      const std::size_t end = std::min(key.find(',', begin), colon);
      auto level = TRY(parse_level(std::string_view(key).substr(begin, end - begin)));
      begin = end + 1;
      if (!level) {
        if (!annotations.empty()) return invalid("invalid annotation \"" + key + "\": unknown level before the colon");
        break;
      }
      level->key = key.substr(colon + 1);
      annotations.push_back(*std::move(level));
    }
  }
  if (annotations.empty()) annotations.push_back({.key = key});
  for (Annotation& annotation : annotations) {
    if (annotation.key.empty()) return invalid("invalid annotation \"" + key + "\": the key is empty");
    annotation.value = value;
  }
  return annotations;
}

/// Keys of an output: "annotation.KEY", "annotation-index[PLATFORM].KEY".
Result<void> take_annotations(Attributes& attributes, std::vector<Annotation>& annotations) {
  for (auto at = attributes.begin(); at != attributes.end();) {
    const std::string& key = at->first;
    const std::size_t bracket = key.find(']');
    const std::size_t dot = key.find('.', bracket == std::string::npos ? 0 : bracket);
    if (!key.starts_with("annotation") || dot == std::string::npos) {
      ++at;
      continue;
    }
    std::string level = key.substr(10, dot - 10);
    level = level.empty() || level.starts_with('[') ? "manifest" + level : level.substr(1);
    auto annotation = TRY(parse_level(level));
    if (!annotation || dot + 1 == key.size())
      return invalid("unknown annotation \"" + key +
                     "\": use annotation.KEY, annotation-manifest.KEY, "
                     "annotation-index.KEY, annotation-manifest-descriptor.KEY or annotation-index-descriptor.KEY");
    annotation->key = key.substr(dot + 1);
    annotation->value = at->second;
    annotations.push_back(*std::move(annotation));
    at = attributes.erase(at);
  }
  return {};
}

Result<std::vector<Reference>> parse_names(const std::vector<std::string>& texts, bool by_digest) {
  std::vector<Reference> names;
  for (const std::string& text : texts) {
    const Reference reference = TRY_CTX(Reference::parse(text), "invalid name \"" + text + "\"");
    if (reference.digest()) return invalid("invalid name \"" + text + "\": an image cannot be named by a digest");
    const std::size_t slash = text.rfind('/');
    if (by_digest && text.find(':', slash == std::string::npos ? 0 : slash) != std::string::npos)
      return invalid("can't push tagged ref " + text + " by digest: leave the tag out");
    if (std::ranges::find(names, reference) == names.end()) names.push_back(reference);
  }
  return names;
}

Result<void> read_image_keys(Attributes& attributes, const std::string& type, OutputOptions& output) {
  output.push_by_digest = TRY(take_flag(attributes, "push-by-digest", false));
  output.push = TRY(take_flag(attributes, "push", type == "registry" || output.push_by_digest));
  output.insecure = TRY(take_flag(attributes, "registry.insecure", false));
  output.store = TRY(take_flag(attributes, "store", true));
  if (!TRY(take_flag(attributes, "unpack", true)) && output.store)
    return fail(ErrorCode::unsupported, "unpack=false is not supported: images of the store are always unpacked");
  output.name_canonical = TRY(take_flag(attributes, "name-canonical", false));
  output.dangling_prefix = take(attributes, "dangling-name-prefix");
  if (!output.dangling_prefix.empty()) TRY_CTX(Reference::parse(output.dangling_prefix), "dangling-name-prefix");
  return {};
}

Result<OutputOptions> read_output(const TypedOptions& given, const BuildRequest& request) {
  OutputOptions output;
  output.type = TRY(parse_type(given.type));
  const std::string prefix = "output type=" + given.type + ": ";
  Attributes attributes = given.attributes;
  const std::vector<std::string> known = known_keys(output.type);
  if (output.is_image()) TRY(take_annotations(attributes, output.annotations));
  for (const auto& [key, value] : attributes)
    if (std::ranges::find(known, key) == known.end())
      return invalid(prefix + "unknown key \"" + key + "\"" + did_you_mean(key, known));
  output.dest = take(attributes, "dest");
  if (output.type == Type::docker && output.dest.empty() && TRY(take_flag(attributes, "tar", true)))
    output.type = Type::image;  // "load": the store is here
  if (output.type == Type::local && output.dest.empty()) return invalid(prefix + "\"dest\", a directory, is missing");
  if (output.type == Type::local && output.dest == "-")
    return invalid(prefix + "a directory cannot go to standard output");
  if ((output.type == Type::tar || output.type == Type::oci || output.type == Type::docker) && output.dest.empty())
    output.dest = "-";
  if (output.type == Type::local) {
    const std::string mode = take(attributes, "mode");
    if (!mode.empty() && mode != "copy" && mode != "delete")
      return invalid(prefix + "unknown mode \"" + mode + "\": use copy or delete");
    output.delete_others = mode == "delete";
  }
  if (attributes.contains("platform-split")) output.platform_split = TRY(take_flag(attributes, "platform-split", true));
  output.attestation_prefix = take(attributes, "attestation-prefix");
  if (output.attestation_prefix.contains('/')) return invalid(prefix + "attestation-prefix is no path");
  if (!output.is_image()) return output;

  output.compression = TRY_CTX(take_compression(attributes), "output type=" + given.type);
  output.oci_types = TRY(take_flag(attributes, "oci-mediatypes", true));
  output.rewrite_timestamp = TRY(take_flag(attributes, "rewrite-timestamp", false));
  output.artifact = TRY(take_flag(attributes, "oci-artifact", false));
  output.as_tar = TRY(take_flag(attributes, "tar", true));
  if (!output.as_tar && output.dest == "-") return invalid(prefix + "tar=false needs \"dest\", a directory");
  if (output.type == Type::image) TRY_CTX(read_image_keys(attributes, given.type, output), "output type=" + given.type);
  const bool named = attributes.contains("name");
  const std::string names = take(attributes, "name");
  std::vector<std::string> texts = request.tags;
  if (named) {
    texts.clear();
    for (std::size_t begin = 0; begin <= names.size();) {
      const std::size_t end = std::min(names.find(',', begin), names.size());
      if (const auto name = trim(std::string_view(names).substr(begin, end - begin)); !name.empty())
        texts.emplace_back(name);
      begin = end + 1;
    }
  }
  output.names = TRY(parse_names(texts, output.push_by_digest));
  if (output.push && output.names.empty()) return invalid(prefix + "a name to push is missing: use name=… or --tag");
  for (const auto& [key, value] : request.annotations)
    for (Annotation& annotation : TRY(annotations_of(key, value))) output.annotations.push_back(std::move(annotation));
  return output;
}

}  // namespace

Result<bool> take_flag(Attributes& attributes, const std::string& key, bool otherwise) {
  if (!attributes.contains(key)) return otherwise;
  const std::string value = to_lower(take(attributes, key));
  if (const auto flag = value.empty() ? true : parse_bool(value)) return *flag;
  return invalid(key + " is \"" + value + "\", not true or false");
}

Result<CompressionOptions> take_compression(Attributes& attributes) {
  CompressionOptions options;
  const std::string kind = take(attributes, "compression");
  if (kind == "zstd") {
    options.kind = Compression::zstd;
  } else if (kind == "uncompressed") {
    options.kind = Compression::none;
  } else if (kind == "estargz") {
    return fail(ErrorCode::unsupported, "compression=estargz is not supported: use gzip, zstd or uncompressed");
  } else if (!kind.empty() && kind != "gzip") {
    return invalid("unknown compression \"" + kind + "\"" + did_you_mean(kind, {"gzip", "zstd", "uncompressed"}) +
                   ": use gzip, zstd or uncompressed");
  }
  if (attributes.contains("compression-level")) {
    const std::string text = take(attributes, "compression-level");
    const int most = options.kind == Compression::zstd ? 22 : 9;
    int level = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), level);
    if (error != std::errc() || end != text.data() + text.size() || level < 0 || level > most)
      return invalid("compression-level is \"" + text + "\", not a number from 0 to " + std::to_string(most));
    options.level = level;
  }
  options.force = TRY(take_flag(attributes, "force-compression", false));
  return options;
}

Result<std::vector<OutputOptions>> read_outputs(const BuildRequest& request) {
  std::vector<OutputOptions> outputs;
  for (const TypedOptions& given : request.outputs) outputs.push_back(TRY(read_output(given, request)));
  if (outputs.empty()) outputs.push_back(TRY(read_output({"image", {}}, request)));
  int to_stdout = 0;
  for (const OutputOptions& output : outputs) to_stdout += output.to_stdout() ? 1 : 0;
  if (to_stdout > 0 && ::isatty(STDOUT_FILENO) == 1)
    return invalid("an output's \"dest\" is missing: refusing to write an archive to a terminal");
  if (to_stdout > 1) return invalid("only one output can go to standard output");
  return outputs;
}

}  // namespace dray::builder
