// SPDX-License-Identifier: BSD-3-Clause

#include "database.hpp"

#include "support.hpp"

namespace zone
{
    namespace
    {
        // Gives a statement back in the state in which the next user finds it.
        class Lease
        {
          public:
            Lease(sqlite3_stmt* statement, bool owned, std::int64_t& steps)
                : statement_{statement}
                , owned_{owned}
                , steps_{steps}
            {
            }
            ~Lease()
            {
                constexpr int reset = 1;
                steps_ += sqlite3_stmt_status(statement_, SQLITE_STMTSTATUS_VM_STEP, reset);
                if (owned_) {
                    sqlite3_finalize(statement_);
                }
                else {
                    sqlite3_reset(statement_);
                    sqlite3_clear_bindings(statement_);
                }
            }
            Lease(const Lease&) = delete;
            Lease& operator=(const Lease&) = delete;

          private:
            sqlite3_stmt* statement_;
            bool owned_;
            std::int64_t& steps_;
        };

        constexpr int busy_timeout_ms = 60000;
    } // namespace

    std::string Row::text(int column) const
    {
        const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
        if (sqlite3_column_type(statement_, column) == SQLITE_INTEGER || sqlite3_column_type(statement_, column) == SQLITE_FLOAT) {
            return reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
        }
        return bytes == nullptr ? std::string{} : std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
    }

    Database::Database(const std::string& path)
    {
        if (sqlite3_open_v2(path.c_str(), &handle_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr) != SQLITE_OK) {
            const std::string why = handle_ != nullptr ? sqlite3_errmsg(handle_) : "out of memory";
            sqlite3_close(handle_);
            throw Failure{CAT_SQL_ERR, "catalog [" + path + "]: " + why};
        }
        sqlite3_busy_timeout(handle_, busy_timeout_ms);
        // A test zone needs to survive a killed process, not a power cut.
        script("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA case_sensitive_like=ON; PRAGMA foreign_keys=OFF;");
    }

    Database::~Database()
    {
        for (auto& [sql, statement] : prepared_) {
            sqlite3_finalize(statement);
        }
        sqlite3_close(handle_);
    }

    void Database::fail(const std::string& what) const
    {
        const int error = sqlite3_extended_errcode(handle_);
        const bool duplicate = error == SQLITE_CONSTRAINT_UNIQUE || error == SQLITE_CONSTRAINT_PRIMARYKEY;
        throw Failure{duplicate ? CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME : CAT_SQL_ERR, what + ": " + sqlite3_errmsg(handle_)};
    }

    sqlite3_stmt* Database::prepare(const std::string& sql, bool& owned)
    {
        const auto known = prepared_.find(sql);
        if (known != prepared_.end() && sqlite3_stmt_busy(known->second) == 0) {
            owned = false;
            return known->second;
        }
        sqlite3_stmt* statement = nullptr;
        if (sqlite3_prepare_v2(handle_, sql.c_str(), static_cast<int>(sql.size()), &statement, nullptr) != SQLITE_OK) {
            fail(sql);
        }
        // The same text is in use further up the stack: this copy is for one use.
        owned = known != prepared_.end();
        if (!owned) {
            prepared_.emplace(sql, statement);
        }
        return statement;
    }

    void Database::run(const std::string& sql, const std::vector<Value>& values, const std::function<bool(const Row&)>& use)
    {
        bool owned = false;
        sqlite3_stmt* statement = prepare(sql, owned);
        const Lease lease{statement, owned, steps_taken_};
        ++statements_run_;
        int index = 1;
        for (const auto& value : values) {
            if (const auto* number = std::get_if<std::int64_t>(&value)) {
                sqlite3_bind_int64(statement, index, *number);
            }
            else {
                const auto& text = std::get<std::string>(value);
                sqlite3_bind_text(statement, index, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
            }
            ++index;
        }
        for (;;) {
            const int result = sqlite3_step(statement);
            if (result == SQLITE_DONE) {
                return;
            }
            if (result != SQLITE_ROW) {
                fail(sql);
            }
            ++rows_read_;
            if (!use(Row{statement})) {
                return;
            }
        }
    }

    int Database::execute(const std::string& sql, const std::vector<Value>& values)
    {
        run(sql, values, [](const Row&) { return true; });
        return sqlite3_changes(handle_);
    }

    void Database::query(const std::string& sql, const std::vector<Value>& values, const std::function<void(const Row&)>& use)
    {
        run(sql, values, [&use](const Row& row) {
            use(row);
            return true;
        });
    }

    std::optional<std::int64_t> Database::integer(const std::string& sql, const std::vector<Value>& values)
    {
        std::optional<std::int64_t> result;
        run(sql, values, [&result](const Row& row) {
            if (!row.is_null(0)) {
                result = row.integer(0);
            }
            return false;
        });
        return result;
    }

    std::optional<std::string> Database::text(const std::string& sql, const std::vector<Value>& values)
    {
        std::optional<std::string> result;
        run(sql, values, [&result](const Row& row) {
            result = row.text(0);
            return false;
        });
        return result;
    }

    void Database::script(const char* sql)
    {
        char* message = nullptr;
        if (sqlite3_exec(handle_, sql, nullptr, nullptr, &message) != SQLITE_OK) {
            const std::string why = message != nullptr ? message : "";
            sqlite3_free(message);
            throw Failure{CAT_SQL_ERR, why};
        }
    }

    Transaction::Transaction(Database& database)
        : database_{database}
    {
        if (database_.depth_ == 0) {
            database_.execute("BEGIN IMMEDIATE");
        }
        ++database_.depth_;
    }

    Transaction::~Transaction()
    {
        --database_.depth_;
        if (!done_ && database_.depth_ == 0) {
            try {
                database_.execute("ROLLBACK");
            }
            catch (const Failure&) {
                // SQLite has rolled back by itself; there is nothing left to undo.
            }
        }
    }

    void Transaction::commit()
    {
        if (database_.depth_ == 1) {
            database_.execute("COMMIT");
        }
        done_ = true;
    }
} // namespace zone
