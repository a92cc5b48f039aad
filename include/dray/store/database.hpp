// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::store {

using Value = std::variant<std::monostate, std::int64_t, std::string>;

/// One row of a query's result; columns by position. Wrong type or NULL gives 0 or "".
class Row {
 public:
  explicit Row(std::vector<Value> values) : values_(std::move(values)) {}
  std::int64_t integer(std::size_t column) const;
  std::string text(std::size_t column) const;
  std::string_view view(std::size_t column) const;  ///< of a text or a blob; as long as this row
  bool is_null(std::size_t column) const;

 private:
  std::vector<Value> values_;
};

/// dray.db: SQLite in WAL mode, shared by all dray processes (one writer at a time; waits up to 10 s, then in_use).
/// Each part owns its tables and creates them with ensure_table at first use. A committed transaction survives kill -9
/// and (synchronous=NORMAL) leaves a consistent, maybe slightly older database after a power failure; call sync() where
/// durability is promised. Thread-safe (one mutex).
class Database {
 public:
  static Result<std::shared_ptr<Database>> open(const std::string& path);
  ~Database();

  Result<void> execute(const std::string& sql, std::initializer_list<Value> parameters = {});
  Result<std::vector<Row>> query(const std::string& sql, std::initializer_list<Value> parameters = {});
  /// Rows changed by the last execute() of this connection.
  int changes() const;
  Result<void> sync();

  /// BEGIN IMMEDIATE … COMMIT; rolled back by the destructor unless commit() was called.
  class Transaction {
   public:
    explicit Transaction(std::shared_ptr<Database> db) : db_(std::move(db)) {}
    Transaction(Transaction&&) = default;
    ~Transaction();
    Result<void> commit();

   private:
    std::shared_ptr<Database> db_;
  };
  static Result<Transaction> begin(std::shared_ptr<Database> db);

 private:
  struct State;
  explicit Database(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dray::store
