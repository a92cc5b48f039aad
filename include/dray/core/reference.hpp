// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <dray/core/digest.hpp>
#include <dray/core/result.hpp>

namespace dray {

/// A parsed image name: domain/repository[:tag][@digest], normalised as Docker does ("debian" is
/// docker.io/library/debian). Grammar: distribution/reference. Without tag and digest, parse() adds the tag "latest".
class Reference {
 public:
  static Result<Reference> parse(std::string_view name);

  const std::string& domain() const { return domain_; }          ///< "docker.io", "localhost:5000"
  const std::string& repository() const { return repository_; }  ///< "library/debian"
  const std::string& tag() const { return tag_; }                ///< empty when only a digest was given
  const std::optional<Digest>& digest() const { return digest_; }

  std::string canonical() const;      ///< "docker.io/library/debian:bookworm"
  std::string familiar() const;       ///< "debian:bookworm"
  std::string familiar_name() const;  ///< "debian", the REPOSITORY column
  /// What a registry is asked for: the digest if there is one, else the tag.
  std::string tag_or_digest() const;
  Reference with_digest(Digest digest) const;
  bool operator==(const Reference&) const = default;

 private:
  std::string domain_, repository_, tag_;
  std::optional<Digest> digest_;
};

}  // namespace dray
