// SPDX-License-Identifier: Apache-2.0
#include <sys/syscall.h>

#include <thread>

#include "failing_call.hpp"
#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

TEST_CASE("values come back as they went in", "[store][database]") {
  TempDir directory = *TempDir::create(temp_parent(), "dray-db-");
  auto db = *Database::open(directory.path() + "/x.db");
  REQUIRE_OK(db->execute("CREATE TABLE a(n INTEGER, t TEXT); CREATE INDEX a_n ON a(n); INSERT INTO a VALUES(1, 'x');"));
  std::string text("with\0nul and 'quotes'", 21);
  REQUIRE_OK(db->execute("INSERT INTO a VALUES(?, ?)", {std::int64_t{1} << 40, text}));
  CHECK(db->changes() == 1);
  REQUIRE_OK(db->execute("INSERT INTO a VALUES(?, ?)", {Value(), Value()}));
  auto rows = db->query("SELECT n, t FROM a ORDER BY rowid");
  REQUIRE_OK(rows);
  REQUIRE(rows->size() == 3);
  CHECK(rows->at(1).integer(0) == std::int64_t{1} << 40);
  CHECK(rows->at(1).text(1) == text);
  CHECK(rows->at(2).is_null(0));
  CHECK(rows->at(2).text(1).empty());
  CHECK(rows->at(2).integer(9) == 0);
  REQUIRE_OK(db->sync());
  struct stat status;
  REQUIRE(::stat((directory.path() + "/x.db").c_str(), &status) == 0);
  CHECK((status.st_mode & 077) == 0);
}

TEST_CASE("an error of the disk is not called damage", "[store][database]") {
  TempDir directory = *TempDir::create(temp_parent(), "dray-db-");
  REQUIRE_OK((*Database::open(directory.path() + "/x.db"))->execute("CREATE TABLE a(n); INSERT INTO a VALUES(1);"));
  auto db = *Database::open(directory.path() + "/x.db");
  Result<std::vector<Row>> rows;
  dray::test::with_failing_call(SYS_pread64, EIO, [&] { rows = db->query("SELECT n FROM a"); });
  REQUIRE(!rows);
  CHECK(rows.error().error_number() == EIO);
  rows = db->query("SELECT n FROM a");
  REQUIRE_OK(rows);
  CHECK(rows->size() == 1);
}

TEST_CASE("a transaction without commit leaves nothing, errors have codes", "[store][database]") {
  TempDir directory = *TempDir::create(temp_parent(), "dray-db-");
  auto db = *Database::open(directory.path() + "/x.db");
  REQUIRE_OK(db->execute("CREATE TABLE a(n INTEGER UNIQUE)"));
  {
    auto transaction = Database::begin(db);
    REQUIRE_OK(transaction);
    REQUIRE_OK(db->execute("INSERT INTO a VALUES(1)"));
  }
  CHECK(db->query("SELECT * FROM a")->empty());
  {
    auto transaction = Database::begin(db);
    REQUIRE_OK(transaction);
    REQUIRE_OK(db->execute("INSERT INTO a VALUES(1)"));
    REQUIRE_OK(transaction->commit());
  }
  CHECK(db->execute("INSERT INTO a VALUES(1)").error().code() == ErrorCode::already_exists);
  CHECK(!db->execute("no sql").has_value());
  REQUIRE_OK(write_file_atomically(directory.path() + "/bad.db", std::string(8192, 'x'), 0600, Durability::none));
  auto bad = Database::open(directory.path() + "/bad.db");
  REQUIRE(!bad);
  CHECK(bad.error().code() == ErrorCode::corrupt);
}

TEST_CASE("many writers on one new database wait for each other", "[store][database]") {
  TempDir directory = *TempDir::create(temp_parent(), "dray-db-");
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      auto db = Database::open(directory.path() + "/x.db");
      if (!db || !(*db)->execute("CREATE TABLE IF NOT EXISTS a(n INTEGER)")) {
        ++failures;
        return;
      }
      for (int n = 0; n < 20; ++n)
        if (!(*db)->execute("INSERT INTO a VALUES(?)", {std::int64_t{n}})) ++failures;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(failures == 0);
  auto db = *Database::open(directory.path() + "/x.db");
  CHECK(db->query("SELECT COUNT(*) FROM a")->front().integer(0) == 120);
}
