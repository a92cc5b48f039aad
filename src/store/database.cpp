// SPDX-License-Identifier: Apache-2.0
// SQLite behind a small face. Opening must cost well under a millisecond, since every `dray run` pays it: no
// schema work here (schema.cpp looks at user_version), no checkpoint when closing (that would fsync), and a
// small limit on the write-ahead log, because whoever opens the database first after that reads the log
// through. Statements are prepared once a connection.
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include <dray/core/fd.hpp>
#include <dray/store/database.hpp>

namespace dray::store {
namespace {

constexpr int kBusyTimeoutMs = 10'000;
constexpr int kWalPages = 64;  // 256 KiB

/// SQLite says "malformed" where the disk gave an error instead of the page that was asked for. The error that it met,
/// in the database or its log; 0: none, so the bytes are wrong.
int read_error(sqlite3* handle) {
  int number = 0;
  if (::sqlite3_file_control(handle, "main", SQLITE_FCNTL_LAST_ERRNO, &number) == SQLITE_OK && number != 0)
    return number;
  sqlite3_file* log = nullptr;
  if (::sqlite3_file_control(handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, static_cast<void*>(&log)) != SQLITE_OK ||
      log == nullptr || log->pMethods == nullptr)
    return 0;
  return log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &number) == SQLITE_OK ? number : 0;
}

ErrorCode code_of(sqlite3* handle, int outcome) {
  int system_error = handle != nullptr ? ::sqlite3_system_errno(handle) : 0;
  switch (outcome & 0xff) {
    case SQLITE_FULL:
      return ErrorCode::no_space;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::in_use;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::corrupt;
    case SQLITE_CONSTRAINT:
      return ErrorCode::already_exists;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return ErrorCode::permission_denied;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      if (system_error == ENOSPC || system_error == EDQUOT) return ErrorCode::no_space;
      if (system_error == EACCES || system_error == EPERM || system_error == EROFS) return ErrorCode::permission_denied;
      return ErrorCode::internal;
    default:
      return ErrorCode::internal;
  }
}

Failure failure(sqlite3* handle, int outcome, const std::string& path) {
  if (handle != nullptr && (outcome & 0xff) == SQLITE_CORRUPT)
    if (errno = read_error(handle); errno != 0) return fail_errno("reading database \"" + path + "\"");
  ErrorCode code = code_of(handle, outcome);
  std::string text = handle != nullptr ? ::sqlite3_errmsg(handle) : ::sqlite3_errstr(outcome);
  Error error(code, "database \"" + path + "\": " + text);
  if (code == ErrorCode::in_use)
    return Failure(std::move(error).with_hint("another dray process is writing; try again"));
  return Failure(std::move(error));
}

Value column_value(sqlite3_stmt* statement, int column) {
  switch (::sqlite3_column_type(statement, column)) {
    case SQLITE_NULL:
      return std::monostate();
    case SQLITE_INTEGER:
      return static_cast<std::int64_t>(::sqlite3_column_int64(statement, column));
    default: {
      const auto* text = reinterpret_cast<const char*>(::sqlite3_column_text(statement, column));
      auto size = static_cast<std::size_t>(::sqlite3_column_bytes(statement, column));
      return text != nullptr ? std::string(text, size) : std::string();
    }
  }
}

int bind(sqlite3_stmt* statement, int index, const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return ::sqlite3_bind_int64(statement, index, *number);
  if (const auto* text = std::get_if<std::string>(&value))
    return ::sqlite3_bind_text64(statement, index, text->data(), text->size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return ::sqlite3_bind_null(statement, index);
}

}  // namespace

std::int64_t Row::integer(std::size_t column) const {
  const auto* value = column < values_.size() ? std::get_if<std::int64_t>(&values_[column]) : nullptr;
  return value != nullptr ? *value : 0;
}
std::string Row::text(std::size_t column) const {
  const auto* value = column < values_.size() ? std::get_if<std::string>(&values_[column]) : nullptr;
  return value != nullptr ? *value : std::string();
}
std::string_view Row::view(std::size_t column) const {
  const auto* value = column < values_.size() ? std::get_if<std::string>(&values_[column]) : nullptr;
  return value != nullptr ? std::string_view(*value) : std::string_view();
}
bool Row::is_null(std::size_t column) const {
  return column >= values_.size() || std::holds_alternative<std::monostate>(values_[column]);
}

struct Database::State {
  std::string path;
  sqlite3* handle = nullptr;
  // Recursive: a Transaction holds it for its life, so that another thread's statement cannot slip into it.
  std::recursive_mutex mutex;
  std::unordered_map<std::string, sqlite3_stmt*> statements;

  ~State() {
    for (auto& [sql, statement] : statements) ::sqlite3_finalize(statement);
    ::sqlite3_close(handle);
  }

  Result<void> step_through(sqlite3_stmt* statement, std::initializer_list<Value> parameters, std::vector<Row>* rows) {
    int index = 0, outcome = SQLITE_OK;
    for (const Value& value : parameters) {
      outcome = bind(statement, ++index, value);
      if (outcome != SQLITE_OK) break;
    }
    while (outcome == SQLITE_OK || outcome == SQLITE_ROW) {
      outcome = ::sqlite3_step(statement);
      if (outcome != SQLITE_ROW || rows == nullptr) continue;
      std::vector<Value> values;
      for (int column = 0; column < ::sqlite3_column_count(statement); ++column)
        values.push_back(column_value(statement, column));
      rows->emplace_back(std::move(values));
    }
    Result<void> result;
    if (outcome != SQLITE_DONE) result = failure(handle, outcome, path);
    ::sqlite3_reset(statement);
    ::sqlite3_clear_bindings(statement);
    return result;
  }

  /// One statement is cached; a script of several (a part's CREATE TABLEs) is run through once.
  Result<void> run(const std::string& sql, std::initializer_list<Value> parameters, std::vector<Row>* rows) {
    const std::lock_guard lock(mutex);
    if (auto known = statements.find(sql); known != statements.end())
      return step_through(known->second, parameters, rows);
    const char* rest = sql.c_str();
    const char* end = rest + sql.size();
    for (bool first = true; rest < end; first = false) {
      sqlite3_stmt* statement = nullptr;
      int outcome = ::sqlite3_prepare_v2(handle, rest, static_cast<int>(end - rest), &statement, &rest);
      if (outcome != SQLITE_OK) return failure(handle, outcome, path);
      if (statement == nullptr) break;  // white space or a comment
      auto result = step_through(statement, first ? parameters : std::initializer_list<Value>{}, rows);
      if (result && first && rest == end) {
        statements.emplace(sql, statement);
      } else {
        ::sqlite3_finalize(statement);
      }
      if (!result) return result;
    }
    return {};
  }
};

Database::Database(std::unique_ptr<State> state) : state_(std::move(state)) {}
Database::~Database() = default;

Result<std::shared_ptr<Database>> Database::open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  int outcome = ::sqlite3_open_v2(path.c_str(), &state->handle,
                                  SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (outcome != SQLITE_OK) return failure(state->handle, outcome, path);
  // A new file gets its mode here, before the log and its index exist, which inherit it.
  struct stat status;
  if (::stat(path.c_str(), &status) == 0 && (status.st_mode & 077) != 0) (void)::chmod(path.c_str(), 0600);
  ::sqlite3_busy_timeout(state->handle, kBusyTimeoutMs);
  ::sqlite3_db_config(state->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  ::sqlite3_wal_autocheckpoint(state->handle, kWalPages);

  // Switching a new file to WAL needs the file alone, and SQLite does not wait for that: repeat it.
  Result<void> switched;
  for (int attempt = 0; attempt < kBusyTimeoutMs / 10; ++attempt) {
    switched = state->run("PRAGMA journal_mode=WAL", {}, nullptr);
    if (switched || switched.error().code() != ErrorCode::in_use) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (!switched) return Failure(std::move(switched).error());
  TRY(state->run("PRAGMA synchronous=NORMAL", {}, nullptr));
  return std::shared_ptr<Database>(new Database(std::move(state)));
}

Result<void> Database::execute(const std::string& sql, std::initializer_list<Value> parameters) {
  return state_->run(sql, parameters, nullptr);
}

Result<std::vector<Row>> Database::query(const std::string& sql, std::initializer_list<Value> parameters) {
  std::vector<Row> rows;
  TRY(state_->run(sql, parameters, &rows));
  return rows;
}

int Database::changes() const {
  const std::lock_guard lock(state_->mutex);
  return ::sqlite3_changes(state_->handle);
}

Result<void> Database::sync() {
  // Committed transactions are in the log or, checkpointed, already synced in the database. The log has no
  // POSIX locks, so opening and closing it here cannot drop SQLite's.
  auto log = open_file(state_->path + "-wal", O_RDONLY);
  if (!log) {
    if (log.error().error_number() == ENOENT) return {};
    return Failure(std::move(log).error());
  }
  if (::fdatasync(log->get()) != 0) return fail_errno("syncing \"" + state_->path + "-wal\"");
  return {};
}

Result<Database::Transaction> Database::begin(std::shared_ptr<Database> db) {
  db->state_->mutex.lock();
  auto begun = db->execute("BEGIN IMMEDIATE");
  if (!begun) {
    db->state_->mutex.unlock();
    return Failure(std::move(begun).error());
  }
  return Transaction(std::move(db));
}

Result<void> Database::Transaction::commit() {
  if (!db_) return fail(ErrorCode::internal, "the transaction has ended already");
  TRY(db_->execute("COMMIT"));  // if not, the destructor rolls back
  auto db = std::move(db_);
  db->state_->mutex.unlock();
  return {};
}

Database::Transaction::~Transaction() {
  if (!db_) return;
  // Some failures (a full disk) have rolled back already; then this one fails, harmlessly.
  if (::sqlite3_get_autocommit(db_->state_->handle) == 0) (void)db_->execute("ROLLBACK");
  db_->state_->mutex.unlock();
}

}  // namespace dray::store
