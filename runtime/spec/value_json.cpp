// SPDX-License-Identifier: Apache-2.0
// The library only tokenises (SAX): the tree is ours, because the library's would drop the first of two properties
// that differ in case, and would grow without a limit on depth and number.

#include <nlohmann/json.hpp>

#include "json_object.hpp"

namespace dray::runtime {

struct JsonValue {
  enum class Kind : std::uint8_t { null, boolean, integer, real, string, array, object };
  Kind kind = Kind::null;
  bool boolean = false;
  WideInteger integer = 0;
  std::string text;
  std::vector<std::string> names;  ///< of `items`, in an object
  std::vector<JsonValue> items;
};

namespace {

using Kind = JsonValue::Kind;
constexpr std::size_t kMaxDepth = 64, kMaxValues = 500'000;

char lower(char letter) { return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter; }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(JsonValue& root) : root_(root) {}
  const std::string& error() const { return error_; }

  bool null() override { return add(Kind::null) != nullptr; }
  bool boolean(bool value) override {
    JsonValue* out = add(Kind::boolean);
    if (out != nullptr) out->boolean = value;
    return out != nullptr;
  }
  bool number_integer(number_integer_t value) override { return add_integer(value); }
  bool number_unsigned(number_unsigned_t value) override { return add_integer(value); }
  bool number_float(number_float_t, const string_t&) override { return add(Kind::real) != nullptr; }
  bool string(string_t& value) override {
    JsonValue* out = add(Kind::string);
    if (out != nullptr) out->text = std::move(value);
    return out != nullptr;
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Kind::object); }
  bool start_array(std::size_t) override { return open(Kind::array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    open_.back()->names.push_back(std::move(name));
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    if (error_.empty()) error_ = "not valid JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  /// The parents' vectors don't grow while a child is open, so the pointers in open_ stay good.
  JsonValue* add(Kind kind) {
    if (++count_ > kMaxValues) {
      error_ = "more than " + std::to_string(kMaxValues) + " values";
      return nullptr;
    }
    JsonValue* out = open_.empty() ? &root_ : &open_.back()->items.emplace_back();
    out->kind = kind;
    return out;
  }
  bool add_integer(WideInteger value) {
    JsonValue* out = add(Kind::integer);
    if (out != nullptr) out->integer = value;
    return out != nullptr;
  }
  bool open(Kind kind) {
    if (open_.size() == kMaxDepth) {
      error_ = "nested deeper than " + std::to_string(kMaxDepth);
      return false;
    }
    JsonValue* out = add(kind);
    if (out != nullptr) open_.push_back(out);
    return out != nullptr;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  JsonValue& root_;
  std::vector<JsonValue*> open_;
  std::size_t count_ = 0;
  std::string error_;
};

}  // namespace

JsonDocument::JsonDocument()
    : value_(std::make_unique<JsonValue>()), error_(std::make_unique<std::optional<Error>>()) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

Result<JsonDocument> JsonDocument::parse(std::string_view text, std::size_t max_size) {
  if (text.size() > max_size)
    return dray::fail(ErrorCode::invalid_argument, "larger than " + std::to_string(max_size >> 20) + " MiB");
  JsonDocument document;
  Builder builder(*document.value_);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
    return dray::fail(ErrorCode::invalid_argument, builder.error().empty() ? "not valid JSON" : builder.error());
  if (document.value_->kind != Kind::object) return dray::fail(ErrorCode::invalid_argument, "not a JSON object");
  return document;
}

JsonObject JsonDocument::root(std::string path) const {
  JsonObject out(std::move(path), error_.get());
  out.parts_.push_back(value_.get());
  return out;
}

Result<void> JsonDocument::result() const {
  if (*error_) return Failure(**error_);
  return {};
}

std::string JsonObject::path_of(std::string_view name) const {
  if (path_.empty()) return std::string(name);
  return name.empty() ? path_ : path_ + "." + std::string(name);
}

void JsonObject::fail(std::string_view name, std::string_view what) const { fail_at(path_of(name), what); }

void JsonObject::fail_at(const std::string& path, std::string_view what) const {
  if (*error_) return;
  std::string message = path;
  message.append(": ").append(what);
  *error_ = Error(ErrorCode::invalid_argument, std::move(message));
}

const JsonValue* JsonObject::find(std::string_view name) const {
  const JsonValue* found = nullptr;
  for (const JsonValue* part : parts_)
    for (std::size_t i = 0; i < part->names.size(); ++i)
      if (same_name(part->names[i], name)) found = &part->items[i];
  return found == nullptr || found->kind == Kind::null ? nullptr : found;
}

std::optional<std::string> JsonObject::string_of(const JsonValue& value, const std::string& path) const {
  if (value.kind == Kind::null) return std::string();
  if (value.kind != Kind::string) {
    fail_at(path, "expected a string");
    return std::nullopt;
  }
  // All of them become C strings or lines of a file in the end.
  if (value.text.find('\0') != std::string::npos) {
    fail_at(path, "a NUL byte is not allowed");
    return std::nullopt;
  }
  return value.text;
}

void JsonObject::read(std::string_view name, std::string& out) const {
  const JsonValue* value = find(name);
  if (value == nullptr) return;
  if (auto text = string_of(*value, path_of(name))) out = std::move(*text);
}

void JsonObject::read(std::string_view name, bool& out) const {
  const JsonValue* value = find(name);
  if (value == nullptr) return;
  if (value->kind != Kind::boolean) return fail(name, "expected true or false");
  out = value->boolean;
}

void JsonObject::read(std::string_view name, std::vector<std::string>& out) const {
  const JsonValue* value = find(name);
  if (value == nullptr) return;
  if (value->kind != Kind::array) return fail(name, "expected an array of strings");
  out.clear();
  for (const JsonValue& item : value->items) {
    auto text = string_of(item, path_of(name) + "[" + std::to_string(out.size()) + "]");
    if (!text) return;
    out.push_back(std::move(*text));
  }
}

void JsonObject::read(std::string_view name, std::map<std::string, std::string>& out) const {
  for (const JsonValue* part : parts_) {
    for (std::size_t i = 0; i < part->names.size(); ++i) {
      if (!same_name(part->names[i], name)) continue;
      const JsonValue& value = part->items[i];
      if (value.kind == Kind::null) {
        out.clear();
        continue;
      }
      if (value.kind != Kind::object) return fail(name, "expected an object of strings");
      for (std::size_t k = 0; k < value.items.size(); ++k) {
        const std::string path = path_of(name) + "[\"" + value.names[k] + "\"]";
        if (value.names[k].find('\0') != std::string::npos) return fail(name, "a NUL byte is not allowed");
        auto text = string_of(value.items[k], path);
        if (!text) return;
        out[value.names[k]] = std::move(*text);
      }
    }
  }
}

std::optional<WideInteger> JsonObject::integer_of(const JsonValue& value, const std::string& path, WideInteger least,
                                               WideInteger greatest) const {
  if (value.kind == Kind::null) return 0;
  if (value.kind == Kind::integer && value.integer >= least && value.integer <= greatest) return value.integer;
  if (value.kind == Kind::real) {
    fail_at(path, "expected a whole number");
  } else if (value.kind != Kind::integer || greatest > INT64_MAX) {
    fail_at(path, least < 0 ? "expected a number" : "expected a non-negative number");
  } else {
    fail_at(path, "expected a whole number from " + std::to_string(static_cast<std::int64_t>(least)) + " to " +
                      std::to_string(static_cast<std::int64_t>(greatest)));
  }
  return std::nullopt;
}

std::optional<WideInteger> JsonObject::read_integer(std::string_view name, WideInteger least,
                                                    WideInteger greatest) const {
  const JsonValue* value = find(name);
  if (value == nullptr) return std::nullopt;
  return integer_of(*value, path_of(name), least, greatest);
}

std::vector<std::uint64_t> JsonObject::read_naturals(std::string_view name, std::uint64_t greatest) const {
  std::vector<std::uint64_t> out;
  const JsonValue* value = find(name);
  if (value == nullptr) return out;
  if (value->kind != Kind::array) {
    fail(name, "expected an array of numbers");
    return out;
  }
  for (const JsonValue& item : value->items) {
    auto number = integer_of(item, path_of(name) + "[" + std::to_string(out.size()) + "]", 0, greatest);
    if (!number) return {};
    out.push_back(static_cast<std::uint64_t>(*number));
  }
  return out;
}

JsonObject JsonObject::open(std::string_view name) const {
  JsonObject out(path_of(name), error_);
  for (const JsonValue* part : parts_) {
    for (std::size_t i = 0; i < part->names.size(); ++i) {
      if (!same_name(part->names[i], name)) continue;
      const JsonValue& value = part->items[i];
      if (value.kind == Kind::null)
        out.parts_.clear();
      else if (value.kind == Kind::object)
        out.parts_.push_back(&value);
      else
        fail(name, "expected an object");
    }
  }
  return out;
}

std::vector<JsonObject> JsonObject::list(std::string_view name) const {
  static const JsonValue kEmpty = [] {
    JsonValue empty;
    empty.kind = Kind::object;
    return empty;
  }();
  std::vector<JsonObject> out;
  const JsonValue* value = find(name);
  if (value == nullptr) return out;
  if (value->kind != Kind::array) {
    fail(name, "expected an array of objects");
    return out;
  }
  for (const JsonValue& item : value->items) {
    JsonObject object(path_of(name) + "[" + std::to_string(out.size()) + "]", error_);
    if (item.kind != Kind::object && item.kind != Kind::null) {
      fail_at(object.path_, "expected an object");
      return out;
    }
    object.parts_.push_back(item.kind == Kind::null ? &kEmpty : &item);
    out.push_back(std::move(object));
  }
  return out;
}

std::vector<std::pair<std::string, JsonObject>> JsonObject::map(std::string_view name) const {
  std::vector<std::pair<std::string, JsonObject>> out;
  const JsonObject object = open(name);
  for (const JsonValue* part : object.parts_) {
    for (std::size_t i = 0; i < part->names.size(); ++i) {
      const JsonValue& value = part->items[i];
      JsonObject item(object.path_ + "[\"" + part->names[i] + "\"]", error_);
      if (value.kind != Kind::object && value.kind != Kind::null) {
        fail_at(item.path_, "expected an object");
        return out;
      }
      if (part->names[i].find('\0') != std::string::npos) {
        fail(name, "a NUL byte is not allowed");
        return out;
      }
      if (value.kind == Kind::object) item.parts_.push_back(&value);
      out.emplace_back(part->names[i], std::move(item));
    }
  }
  return out;
}

}  // namespace dray::runtime
