// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

// Typed reading of JSON objects that strangers wrote, with Go's rules, since every other runtime and every writer of
// bundles has them: property names match without regard to case, a property given twice is read twice (objects merge,
// of the rest the last one counts), null is the same as absent.
// An error names the property ("process.rlimits[2].hard: ..."). The first one is kept and the reading goes on: a
// reader is then a list of properties instead of a list of checks. Whoever started it asks JsonDocument::result().

namespace dray::runtime {

struct JsonValue;  // the parsed tree, known to value_json.cpp alone
__extension__ typedef __int128 WideInteger;  ///< holds the range of every integer type

/// Properties of one object; empty if it was absent. Must not outlive its JsonDocument.
class JsonObject {
 public:
  bool present() const { return !parts_.empty(); }
  const std::string& path() const { return path_; }
  /// "process.cwd"
  std::string path_of(std::string_view name) const;
  /// Given, and not null.
  bool has(std::string_view name) const { return find(name) != nullptr; }

  // An absent property leaves `out` as it is.
  void read(std::string_view name, std::string& out) const;
  void read(std::string_view name, bool& out) const;
  void read(std::string_view name, std::vector<std::string>& out) const;
  void read(std::string_view name, std::map<std::string, std::string>& out) const;
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  void read(std::string_view name, T& out) const {
    if (auto number = read_integer(name, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()))
      out = static_cast<T>(*number);
  }
  template <std::unsigned_integral T>
    requires(!std::same_as<T, bool>)
  void read(std::string_view name, std::vector<T>& out) const {
    for (std::uint64_t number : read_naturals(name, std::numeric_limits<T>::max()))
      out.push_back(static_cast<T>(number));
  }
  template <typename T>
  void read(std::string_view name, std::optional<T>& out) const {
    if (!has(name)) return;
    T value{};
    read(name, value);
    out = std::move(value);
  }

  JsonObject open(std::string_view name) const;
  /// The objects of an array; null in it is an object without properties.
  std::vector<JsonObject> list(std::string_view name) const;
  /// The objects of a map.
  std::vector<std::pair<std::string, JsonObject>> map(std::string_view name) const;

  /// The value of `name` is not one that the specification allows: "path.name: what".
  void fail(std::string_view name, std::string_view what) const;

 private:
  friend class JsonDocument;
  JsonObject(std::string path, std::optional<Error>* error) : path_(std::move(path)), error_(error) {}
  const JsonValue* find(std::string_view name) const;
  std::optional<WideInteger> read_integer(std::string_view name, WideInteger least, WideInteger greatest) const;
  std::vector<std::uint64_t> read_naturals(std::string_view name, std::uint64_t greatest) const;
  std::optional<WideInteger> integer_of(const JsonValue& value, const std::string& path, WideInteger least,
                                     WideInteger greatest) const;
  std::optional<std::string> string_of(const JsonValue& value, const std::string& path) const;
  void fail_at(const std::string& path, std::string_view what) const;

  std::vector<const JsonValue*> parts_;  ///< more than one if the property was given more than once
  std::string path_;
  std::optional<Error>* error_;
};

/// Refuses what is not one JSON object, is larger than `max_size`, nested deeper than 64, or has more than half a
/// million values (each takes far more memory than its text).
class JsonDocument {
 public:
  static Result<JsonDocument> parse(std::string_view text, std::size_t max_size);
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  /// `path` is put before the names in errors.
  JsonObject root(std::string path = "") const;
  /// The first error of any object of this document.
  Result<void> result() const;

 private:
  JsonDocument();
  std::unique_ptr<JsonValue> value_;
  std::unique_ptr<std::optional<Error>> error_;
};

}  // namespace dray::runtime
