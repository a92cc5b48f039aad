// SPDX-License-Identifier: Apache-2.0
// Error keeps its state behind one shared pointer, so that Result<T> stays small; changing an error copies the state
// only when another copy still refers to it.
#include <cctype>
#include <cstring>

#include <dray/core/result.hpp>

namespace dray {

struct Error::State {
  ErrorCode code = ErrorCode::internal;
  int error_number = 0;
  std::string message, location, hint;
};

namespace {

ErrorCode code_of_errno(int number) {
  switch (number) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH:
      return ErrorCode::not_found;
    case EEXIST:
      return ErrorCode::already_exists;
    case EACCES:
    case EPERM:
    case EROFS:
    case EXDEV:  // openat2: the path would have left its root
    case ELOOP:
      return ErrorCode::permission_denied;
    case ENOSPC:
    case EDQUOT:
      return ErrorCode::no_space;
    case EBUSY:
    case EADDRINUSE:
    case EWOULDBLOCK:
      return ErrorCode::in_use;
    case EINVAL:
    case ENAMETOOLONG:
      return ErrorCode::invalid_argument;
    case ENOSYS:
    case EOPNOTSUPP:
      return ErrorCode::unsupported;
    case ECONNREFUSED:
    case ETIMEDOUT:
    case ENETUNREACH:
    case EHOSTUNREACH:
      return ErrorCode::unavailable;
    default:
      return ErrorCode::internal;
  }
}

}  // namespace

Error::Error(ErrorCode code, std::string message) : state_(std::make_shared<State>()) {
  state_->code = code;
  state_->message = std::move(message);
}

Error Error::from_errno(std::string message) { return from_errno(errno, std::move(message)); }

Error Error::from_errno(int error_number, std::string message) {
  message += ": ";
  // As Go's texts, which users of containers know, and as every message here: in lower case.
  std::string text = std::strerror(error_number);
  if (text.size() > 1 && std::isupper(static_cast<unsigned char>(text[0])) &&
      !std::isupper(static_cast<unsigned char>(text[1])))
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  message += text;
  Error error(code_of_errno(error_number), std::move(message));
  error.state_->error_number = error_number;
  return error;
}

Error::State& Error::own() {
  if (state_.use_count() > 1) state_ = std::make_shared<State>(*state_);
  return *state_;
}

ErrorCode Error::code() const { return state_->code; }
int Error::error_number() const { return state_->error_number; }
const std::string& Error::message() const { return state_->message; }
const std::string& Error::location() const { return state_->location; }
const std::string& Error::hint() const { return state_->hint; }

Error Error::with_context(std::string_view context) && {
  State& state = own();
  state.message = std::string(context) + ": " + state.message;
  return std::move(*this);
}

Error Error::with_location(std::string location) && {
  State& state = own();
  if (state.location.empty()) state.location = std::move(location);
  return std::move(*this);
}

Error Error::with_hint(std::string hint) && {
  own().hint = std::move(hint);
  return std::move(*this);
}

Error Error::with_code(ErrorCode code) && {
  own().code = code;
  return std::move(*this);
}

Error Error::with_cleanup_failure(const Error& cleanup) && {
  own().message += " (and while cleaning up: " + cleanup.message() + ")";
  return std::move(*this);
}

std::string Error::to_string() const {
  std::string text = state_->location.empty() ? "" : state_->location + ": ";
  text += state_->message;
  if (!state_->hint.empty()) text += "\n" + state_->hint;
  return text;
}

Failure fail_errno(std::string message) { return Failure(Error::from_errno(errno, std::move(message))); }

}  // namespace dray
