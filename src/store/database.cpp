// SPDX-License-Identifier: Apache-2.0
// A thin layer over SQLite: statements are prepared once and kept, parameters are always bound, results are plain rows.
#include <dray/store/database.hpp>

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <mutex>
#include <unordered_map>

#include <dray/core/fd.hpp>

namespace dray::store {
namespace {

constexpr int kBusyTimeoutMs = 10'000;

Error sqlite_error(sqlite3* db, const std::string& doing) {
  int code = db == nullptr ? SQLITE_CANTOPEN : sqlite3_errcode(db);
  ErrorCode mapped = ErrorCode::internal;
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: mapped = ErrorCode::in_use; break;
    case SQLITE_FULL: mapped = ErrorCode::no_space; break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: mapped = ErrorCode::corrupt; break;
    case SQLITE_CONSTRAINT: mapped = ErrorCode::already_exists; break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN: mapped = ErrorCode::permission_denied; break;
    default: break;
  }
  std::string text = mapped == ErrorCode::no_space ? "No space left on device" : db == nullptr ? "out of memory" : sqlite3_errmsg(db);
  return Error(mapped, doing + ": " + text);
}

}  // namespace

std::int64_t Row::integer(std::size_t column) const {
  if (column >= values_.size()) return 0;
  const auto* value = std::get_if<std::int64_t>(&values_[column]);
  return value == nullptr ? 0 : *value;
}
std::string Row::text(std::size_t column) const {
  if (column >= values_.size()) return {};
  const auto* value = std::get_if<std::string>(&values_[column]);
  return value == nullptr ? std::string() : *value;
}
bool Row::is_null(std::size_t column) const {
  return column >= values_.size() || std::holds_alternative<std::monostate>(values_[column]);
}

struct Database::State {
  sqlite3* db = nullptr;
  std::string path;
  std::recursive_mutex mutex;
  std::unordered_map<std::string, sqlite3_stmt*> statements;

  ~State() {
    for (auto& [sql, statement] : statements) sqlite3_finalize(statement);
    sqlite3_close(db);
  }

  Result<sqlite3_stmt*> prepare(const std::string& sql) {
    auto found = statements.find(sql);
    if (found != statements.end()) return found->second;
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db, sql.c_str(), static_cast<int>(sql.size()) + 1, &statement, nullptr) != SQLITE_OK)
      return Failure(sqlite_error(db, "database"));
    statements[sql] = statement;
    return statement;
  }

  /// Binds and runs; rows go to `rows` when wanted.
  Result<void> run(const std::string& sql, std::initializer_list<Value> parameters, std::vector<Row>* rows) {
    std::lock_guard lock(mutex);
    sqlite3_stmt* statement = TRY(prepare(sql));
    int index = 1;
    for (const Value& value : parameters) {
      if (const auto* number = std::get_if<std::int64_t>(&value)) {
        sqlite3_bind_int64(statement, index, *number);
      } else if (const auto* text = std::get_if<std::string>(&value)) {
        sqlite3_bind_text(statement, index, text->data(), static_cast<int>(text->size()), SQLITE_TRANSIENT);
      } else {
        sqlite3_bind_null(statement, index);
      }
      ++index;
    }
    int outcome;
    while ((outcome = sqlite3_step(statement)) == SQLITE_ROW) {
      if (rows == nullptr) continue;
      std::vector<Value> values;
      for (int column = 0; column < sqlite3_column_count(statement); ++column) {
        switch (sqlite3_column_type(statement, column)) {
          case SQLITE_INTEGER: values.emplace_back(static_cast<std::int64_t>(sqlite3_column_int64(statement, column))); break;
          case SQLITE_NULL: values.emplace_back(std::monostate{}); break;
          default: {
            const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement, column));
            auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement, column));
            values.emplace_back(bytes == nullptr ? std::string() : std::string(bytes, size));
          }
        }
      }
      rows->emplace_back(std::move(values));
    }
    Result<void> result;
    if (outcome != SQLITE_DONE) result = Failure(sqlite_error(db, "database"));
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
  }
};

Database::Database(std::unique_ptr<State> state) : state_(std::move(state)) {}
Database::~Database() = default;

Result<std::shared_ptr<Database>> Database::open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  int outcome = sqlite3_open_v2(path.c_str(), &state->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (outcome != SQLITE_OK) return Failure(sqlite_error(state->db, "opening \"" + path + "\""));
  sqlite3_busy_timeout(state->db, kBusyTimeoutMs);
  sqlite3_extended_result_codes(state->db, 1);
  std::shared_ptr<Database> db(new Database(std::move(state)));
  // WAL is a property of the file: asking costs a read, changing it a lock.
  auto mode = TRY(db->query("PRAGMA journal_mode"));
  if (mode.empty() || mode[0].text(0) != "wal") TRY(db->query("PRAGMA journal_mode=WAL"));
  TRY(db->query("PRAGMA synchronous=NORMAL"));
  return db;
}

Result<void> Database::execute(const std::string& sql, std::initializer_list<Value> parameters) {
  return state_->run(sql, parameters, nullptr);
}

Result<std::vector<Row>> Database::query(const std::string& sql, std::initializer_list<Value> parameters) {
  std::vector<Row> rows;
  TRY(state_->run(sql, parameters, &rows));
  return rows;
}

int Database::changes() const { return sqlite3_changes(state_->db); }

Result<void> Database::sync() {
  // synchronous=NORMAL syncs the WAL only at checkpoints; syncing the file makes what is committed durable.
  auto wal = open_file(state_->path + "-wal", O_RDONLY);
  if (!wal) return {};
  if (::fdatasync(wal->get()) != 0) return fail_errno("syncing the database");
  return {};
}

Result<Database::Transaction> Database::begin(std::shared_ptr<Database> db) {
  // The connection's mutex is held for the whole transaction: another thread's statement must not become part of it.
  db->state_->mutex.lock();
  auto begun = db->execute("BEGIN IMMEDIATE");
  if (!begun) {
    db->state_->mutex.unlock();
    return Failure(std::move(begun).error());
  }
  return Transaction(std::move(db));
}

Database::Transaction::~Transaction() {
  if (!db_) return;
  (void)db_->execute("ROLLBACK");
  db_->state_->mutex.unlock();
}

Result<void> Database::Transaction::commit() {
  TRY(db_->execute("COMMIT"));
  auto db = std::move(db_);
  db->state_->mutex.unlock();
  return {};
}

}  // namespace dray::store
