// SPDX-License-Identifier: BSD-3-Clause
// A thin layer over SQLite: prepared statements by text, rows as strings or integers, transactions.
#ifndef ZONE_DATABASE_HPP
#define ZONE_DATABASE_HPP

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace zone
{
    // A value to bind. Text is bytes with a length.
    using Value = std::variant<std::int64_t, std::string>;

    class Row
    {
      public:
        explicit Row(sqlite3_stmt* statement)
            : statement_{statement}
        {
        }
        std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
        std::string text(int column) const; // "" for NULL
        bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
        int columns() const { return sqlite3_column_count(statement_); }

      private:
        sqlite3_stmt* statement_;
    };

    // One connection; never carried across fork. Every failure is a zone::Failure: with
    // CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME where a row would break a unique index, as the server's database layer
    // says it, and with CAT_SQL_ERR otherwise.
    class Database
    {
      public:
        explicit Database(const std::string& path);
        ~Database();
        Database(const Database&) = delete;
        Database& operator=(const Database&) = delete;

        // Runs a statement and gives the number of rows it changed.
        int execute(const std::string& sql, const std::vector<Value>& values = {});
        // Calls back for each row.
        void query(const std::string& sql, const std::vector<Value>& values, const std::function<void(const Row&)>& use);
        std::optional<std::int64_t> integer(const std::string& sql, const std::vector<Value>& values = {});
        std::optional<std::string> text(const std::string& sql, const std::vector<Value>& values = {});
        void script(const char* sql);

        // What this connection was asked for since it was opened.
        std::int64_t statements_run() const { return statements_run_; }
        std::int64_t rows_read() const { return rows_read_; }
        // Steps of SQLite's machine: what it read to give those rows.
        std::int64_t steps_taken() const { return steps_taken_; }

      private:
        friend class Transaction;
        sqlite3* handle_ = nullptr;
        int depth_ = 0;
        std::int64_t statements_run_ = 0;
        std::int64_t rows_read_ = 0;
        std::int64_t steps_taken_ = 0;
        std::unordered_map<std::string, sqlite3_stmt*> prepared_;

        [[noreturn]] void fail(const std::string& what) const;
        sqlite3_stmt* prepare(const std::string& sql, bool& owned);
        void run(const std::string& sql, const std::vector<Value>& values, const std::function<bool(const Row&)>& use);
    };

    // Takes the write lock at once (BEGIN IMMEDIATE), so that what is read in it stays true until commit.
    // Within another transaction it is part of that one. Without commit() it is undone.
    class Transaction
    {
      public:
        explicit Transaction(Database& database);
        ~Transaction();
        Transaction(const Transaction&) = delete;
        Transaction& operator=(const Transaction&) = delete;
        void commit();

      private:
        Database& database_;
        bool done_ = false;
    };
} // namespace zone

#endif // ZONE_DATABASE_HPP
