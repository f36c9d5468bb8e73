// SPDX-License-Identifier: BSD-3-Clause

#include "genquery1.hpp"

#include "support.hpp"

#include "irods/rodsKeyWdDef.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

namespace zone
{
    namespace
    {
        struct Column
        {
            const char* table; // alias, see below
            const char* name;
        };

        const std::map<int, Column>& columns()
        {
            static const std::map<int, Column> all{
                {COL_ZONE_NAME, {"zone", "zone_name"}},
                {COL_ZONE_TYPE, {"zone", "zone_type_name"}},
                {COL_USER_ID, {"u", "user_id"}},
                {COL_USER_NAME, {"u", "user_name"}},
                {COL_USER_TYPE, {"u", "user_type_name"}},
                {COL_USER_ZONE, {"u", "zone_name"}},
                {COL_USER_GROUP_NAME, {"ugroup", "user_name"}},
                {COL_R_RESC_ID, {"r", "resc_id"}},
                {COL_R_RESC_NAME, {"r", "resc_name"}},
                {COL_R_TYPE_NAME, {"r", "resc_type_name"}},
                {COL_R_LOC, {"r", "resc_net"}},
                {COL_R_VAULT_PATH, {"r", "resc_def_path"}},
                {COL_R_RESC_PARENT, {"r", "resc_parent"}},
                {COL_D_DATA_ID, {"d", "data_id"}},
                {COL_D_COLL_ID, {"d", "coll_id"}},
                {COL_DATA_NAME, {"d", "data_name"}},
                {COL_DATA_REPL_NUM, {"d", "data_repl_num"}},
                {COL_DATA_TYPE_NAME, {"d", "data_type_name"}},
                {COL_DATA_SIZE, {"d", "data_size"}},
                {COL_D_RESC_NAME, {"r", "resc_name"}},
                {COL_D_DATA_PATH, {"d", "data_path"}},
                {COL_D_OWNER_NAME, {"d", "data_owner_name"}},
                {COL_D_OWNER_ZONE, {"d", "data_owner_zone"}},
                {COL_D_REPL_STATUS, {"d", "data_is_dirty"}},
                {COL_D_DATA_CHECKSUM, {"d", "data_checksum"}},
                {COL_D_CREATE_TIME, {"d", "create_ts"}},
                {COL_D_MODIFY_TIME, {"d", "modify_ts"}},
                {COL_D_RESC_ID, {"d", "resc_id"}},
                {COL_D_RESC_HIER, {"d", "resc_id"}}, // turned into text afterwards
                {COL_COLL_ID, {"c", "coll_id"}},
                {COL_COLL_NAME, {"c", "coll_name"}},
                {COL_COLL_PARENT_NAME, {"c", "parent_coll_name"}},
                {COL_COLL_OWNER_NAME, {"c", "coll_owner_name"}},
                {COL_COLL_OWNER_ZONE, {"c", "coll_owner_zone"}},
                {COL_COLL_INHERITANCE, {"c", "coll_inheritance"}},
                {COL_COLL_CREATE_TIME, {"c", "create_ts"}},
                {COL_COLL_MODIFY_TIME, {"c", "modify_ts"}},
                {COL_META_DATA_ATTR_NAME, {"md", "meta_attr_name"}},
                {COL_META_DATA_ATTR_VALUE, {"md", "meta_attr_value"}},
                {COL_META_DATA_ATTR_UNITS, {"md", "meta_attr_unit"}},
                {COL_META_COLL_ATTR_NAME, {"mc", "meta_attr_name"}},
                {COL_META_COLL_ATTR_VALUE, {"mc", "meta_attr_value"}},
                {COL_META_COLL_ATTR_UNITS, {"mc", "meta_attr_unit"}},
                {COL_META_RESC_ATTR_NAME, {"mr", "meta_attr_name"}},
                {COL_META_RESC_ATTR_VALUE, {"mr", "meta_attr_value"}},
                {COL_META_RESC_ATTR_UNITS, {"mr", "meta_attr_unit"}},
                {COL_META_USER_ATTR_NAME, {"mu", "meta_attr_name"}},
                {COL_META_USER_ATTR_VALUE, {"mu", "meta_attr_value"}},
                {COL_META_USER_ATTR_UNITS, {"mu", "meta_attr_unit"}},
                {COL_DATA_ACCESS_NAME, {"dt", "token_name"}},
                {COL_COLL_ACCESS_NAME, {"ct", "token_name"}},
                {COL_RULE_EXEC_ID, {"q", "rule_exec_id"}},
                {COL_RULE_EXEC_NAME, {"q", "rule_name"}},
                {1002, {"q", "rei_file_path"}}, // these and the following: COL_RULE_EXEC_*
                {COL_RULE_EXEC_USER_NAME, {"q", "user_name"}},
                {1004, {"q", "exe_address"}},
                {COL_RULE_EXEC_TIME, {"q", "exe_time"}},
                {COL_RULE_EXEC_FREQUENCY, {"q", "exe_frequency"}},
                {1007, {"q", "priority"}},
                {1008, {"q", "estimated_exe_time"}},
                {1009, {"q", "notification_addr"}},
                {1010, {"q", "last_exe_time"}},
                {1011, {"q", "exe_status"}},
                {1012, {"q", "exe_context"}},
                {1013, {"q", "lock_host"}},
                {1014, {"q", "lock_host_pid"}},
                {1015, {"q", "lock_ts"}},
            };
            return all;
        }

        // The text after WHERE for the tables of a query: the first is selected from, the others joined. Unlike
        // GenQuery2's, these joins drop what has no counterpart.
        std::string joins(const std::set<std::string>& used)
        {
            std::set<std::string> tables = used;
            const auto needs = [&tables](const char* table, const char* other) {
                if (tables.count(table) != 0) {
                    tables.insert(other);
                }
            };
            needs("md", "d");
            needs("dt", "d");
            needs("mc", "c");
            needs("ct", "c");
            needs("mr", "r");
            needs("mu", "u");
            needs("ugroup", "u");
            const bool data = tables.count("d") != 0;
            const bool collections = tables.count("c") != 0;
            std::string sql;
            const auto add = [&sql](const std::string& table, const std::string& on) {
                sql += sql.empty() ? " from " + table : " join " + table + (on.empty() ? "" : " on " + on);
            };
            if (data) {
                add("R_DATA_MAIN d", "");
            }
            if (collections) {
                add("R_COLL_MAIN c", data ? "c.coll_id = d.coll_id" : "");
            }
            if (tables.count("r") != 0) {
                add("R_RESC_MAIN r", data ? "r.resc_id = d.resc_id" : "");
            }
            if (tables.count("u") != 0) {
                add("R_USER_MAIN u", "");
            }
            if (tables.count("zone") != 0) {
                add("R_ZONE_MAIN zone", "");
            }
            if (tables.count("q") != 0) {
                add("R_RULE_EXEC q", "");
            }
            const auto metadata = [&](const char* alias, const char* id) {
                if (tables.count(alias) != 0) {
                    sql += std::string{" join R_OBJT_METAMAP "} + alias + "map on " + alias + "map.object_id = " + id +
                           " join R_META_MAIN " + alias + " on " + alias + ".meta_id = " + alias + "map.meta_id";
                }
            };
            metadata("md", "d.data_id");
            metadata("mc", "c.coll_id");
            metadata("mr", "r.resc_id");
            metadata("mu", "u.user_id");
            if (tables.count("ugroup") != 0) {
                sql += " join R_USER_GROUP ug on ug.user_id = u.user_id join R_USER_MAIN ugroup on ugroup.user_id = ug.group_user_id";
            }
            if (tables.count("dt") != 0) {
                sql += " join R_OBJT_ACCESS da on da.object_id = d.data_id join R_TOKN_MAIN dt on dt.token_id = da.access_type_id";
            }
            if (tables.count("ct") != 0) {
                sql += " join R_OBJT_ACCESS ca on ca.object_id = c.coll_id join R_TOKN_MAIN ct on ct.token_id = ca.access_type_id";
            }
            return sql;
        }

        const Column& find(int number)
        {
            const auto found = columns().find(number);
            if (found == columns().end()) {
                throw Failure{CAT_UNKNOWN_TABLE, "GenQuery: column " + std::to_string(number)};
            }
            return found->second;
        }

        // "= 'x'", "like 'x%'", "in ('a','b')", "between 'a' 'b'", "<> 'x'", joined by || or && on one column.
        class ConditionReader
        {
          public:
            ConditionReader(std::string column, const std::string& text, std::vector<Value>& values)
                : column_{std::move(column)}
                , text_{text}
                , values_{values}
            {
            }

            std::string read()
            {
                std::string sql = "(" + one();
                for (;;) {
                    skip();
                    if (text_.compare(at_, 2, "||") == 0) {
                        at_ += 2;
                        sql += " or " + one();
                    }
                    else if (text_.compare(at_, 2, "&&") == 0) {
                        at_ += 2;
                        sql += " and " + one();
                    }
                    else if (at_ < text_.size()) {
                        refuse();
                    }
                    else {
                        return sql + ")";
                    }
                }
            }

          private:
            std::string column_;
            const std::string& text_;
            std::vector<Value>& values_;
            std::size_t at_ = 0;

            [[noreturn]] void refuse() const { throw Failure{CAT_INVALID_ARGUMENT, "GenQuery: condition [" + text_ + "]"}; }

            void skip()
            {
                while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == ',')) {
                    ++at_;
                }
            }

            // The quote that ends a literal is the next one: the first GenQuery knows no escape.
            void literal()
            {
                skip();
                if (at_ >= text_.size() || text_[at_] != '\'') {
                    refuse();
                }
                const auto end = text_.find('\'', at_ + 1);
                if (end == std::string::npos) {
                    refuse();
                }
                values_.emplace_back(text_.substr(at_ + 1, end - at_ - 1));
                at_ = end + 1;
            }

            bool word(const char* word)
            {
                skip();
                const auto length = std::strlen(word);
                if (::strncasecmp(text_.c_str() + at_, word, length) != 0) {
                    return false;
                }
                at_ += length;
                return true;
            }

            std::string one()
            {
                const std::string negated = word("not ") ? " not" : "";
                if (word("like")) {
                    literal();
                    return column_ + negated + " like ? escape '\\'";
                }
                if (word("in")) {
                    skip();
                    if (text_.compare(at_, 1, "(") != 0) {
                        refuse();
                    }
                    ++at_;
                    std::string marks;
                    for (skip(); text_.compare(at_, 1, ")") != 0; skip()) {
                        literal();
                        marks += marks.empty() ? "?" : ", ?";
                    }
                    ++at_;
                    return column_ + negated + " in (" + marks + ")";
                }
                if (word("between")) {
                    literal();
                    literal();
                    return column_ + negated + " between ? and ?";
                }
                for (const char* comparison : {"<>", "!=", "<=", ">=", "=", "<", ">"}) {
                    if (word(comparison)) {
                        literal();
                        return column_ + " " + comparison + " ?";
                    }
                }
                refuse();
            }
        };

        struct Continued
        {
            std::vector<std::vector<std::string>> rows;
            std::size_t at = 0;
            std::vector<int> columns;
        };

        std::map<int, Continued>& open_statements()
        {
            static std::map<int, Continued> all;
            return all;
        }

        std::string visible(const std::set<std::string>& used, const Actor& actor, std::vector<Value>& values)
        {
            if (actor.privileged) {
                return "";
            }
            const auto clause = [&](const char* id) {
                values.emplace_back(actor.name);
                values.emplace_back(actor.zone);
                return std::string{"exists (select 1 from R_OBJT_ACCESS pa join R_USER_GROUP pg on pg.group_user_id = pa.user_id join"
                                   " R_USER_MAIN pu on pu.user_id = pg.user_id where pa.object_id = "} +
                       id + " and pu.user_name = ? and pu.zone_name = ? and pa.access_type_id >= 1050)";
            };
            if (used.count("d") != 0 || used.count("md") != 0) {
                return clause("d.data_id");
            }
            if (used.count("c") != 0 || used.count("mc") != 0) {
                return clause("c.coll_id");
            }
            return "";
        }

        std::vector<std::vector<std::string>> run(Session& session, const GenQueryInp& input, std::vector<int>& selected)
        {
            std::set<std::string> used;
            std::string list;
            std::string order;
            std::string groups;
            bool aggregates = false;
            for (int i = 0; i < input.selectInp.len; ++i) {
                const Column& column = find(input.selectInp.inx[i]);
                selected.push_back(input.selectInp.inx[i]);
                used.insert(column.table);
                const std::string name = std::string{column.table} + "." + column.name;
                std::string sql = name;
                const int option = input.selectInp.value != nullptr ? input.selectInp.value[i] : 0;
                const std::map<int, const char*> functions{
                    {SELECT_MIN, "min"}, {SELECT_MAX, "max"}, {SELECT_SUM, "sum"}, {SELECT_AVG, "avg"}, {SELECT_COUNT, "count"}};
                const auto function = functions.find(option & 0xF);
                if (function != functions.end()) {
                    sql = std::string{function->second} + "(" + name + ")";
                    aggregates = true;
                }
                else {
                    groups += (groups.empty() ? "" : ", ") + name;
                }
                if ((option & (ORDER_BY | ORDER_BY_DESC)) != 0) {
                    order += (order.empty() ? " order by " : ", ") + name + ((option & ORDER_BY_DESC) != 0 ? " desc" : "");
                }
                list += (list.empty() ? "" : ", ") + sql;
            }
            std::string where;
            std::vector<Value> values;
            for (int i = 0; i < input.sqlCondInp.len; ++i) {
                const Column& column = find(input.sqlCondInp.inx[i]);
                used.insert(column.table);
                const std::string text = input.sqlCondInp.value[i];
                where += (where.empty() ? " where " : " and ") +
                         ConditionReader{std::string{column.table} + "." + column.name, text, values}.read();
            }
            const std::string permission = visible(used, session.actor(), values);
            if (!permission.empty()) {
                where += (where.empty() ? " where " : " and ") + permission;
            }
            const std::string sql = std::string{(input.options & NO_DISTINCT) != 0 ? "select " : "select distinct "} + list + joins(used) +
                                    where + (aggregates && !groups.empty() ? " group by " + groups : "") + order;
            std::vector<std::vector<std::string>> rows;
            session.catalog().database().query(sql, values, [&rows](const Row& row) {
                std::vector<std::string> cells;
                for (int column = 0; column < row.columns(); ++column) {
                    cells.push_back(row.text(column));
                }
                rows.push_back(std::move(cells));
            });
            for (std::size_t column = 0; column < selected.size(); ++column) {
                if (selected[column] == COL_D_RESC_HIER) {
                    for (auto& row : rows) {
                        row[column] = session.catalog().hierarchy(std::stoll(row[column]));
                    }
                }
            }
            return rows;
        }

        GenQueryOut* pack(const Continued& statement, std::size_t count)
        {
            auto* out = static_cast<GenQueryOut*>(std::calloc(1, sizeof(GenQueryOut)));
            out->rowCnt = static_cast<int>(count);
            out->attriCnt = static_cast<int>(statement.columns.size());
            for (std::size_t column = 0; column < statement.columns.size(); ++column) {
                std::size_t width = 1;
                for (std::size_t row = 0; row < count; ++row) {
                    width = std::max(width, statement.rows[statement.at + row][column].size() + 1);
                }
                auto* cells = static_cast<char*>(std::calloc(count, width));
                for (std::size_t row = 0; row < count; ++row) {
                    const auto& text = statement.rows[statement.at + row][column];
                    std::memcpy(cells + row * width, text.data(), text.size());
                }
                out->sqlResult[column] = {statement.columns[column], static_cast<int>(width), cells};
            }
            return out;
        }
    } // namespace

    void genquery1(Session& session, const GenQueryInp& input, GenQueryOut** out)
    {
        *out = nullptr;
        int number = input.continueInx;
        Continued statement;
        if (number > 0) {
            const auto open = open_statements().find(number);
            if (open == open_statements().end()) {
                throw Failure{CAT_STATEMENT_TABLE_FULL, "no such open query"};
            }
            statement = std::move(open->second);
            open_statements().erase(open);
            if (input.maxRows <= 0) {
                return;
            }
        }
        else {
            statement.rows = run(session, input, statement.columns);
            statement.at = input.rowOffset > 0 ? std::min(static_cast<std::size_t>(input.rowOffset), statement.rows.size()) : 0;
        }
        const std::size_t left = statement.rows.size() - statement.at;
        if (left == 0) {
            throw Failure{CAT_NO_ROWS_FOUND, "no rows"};
        }
        const std::size_t most = input.maxRows > 0 && input.maxRows < MAX_SQL_ROWS ? static_cast<std::size_t>(input.maxRows) : MAX_SQL_ROWS;
        const std::size_t count = std::min(left, most);
        *out = pack(statement, count);
        statement.at += count;
        if (statement.at < statement.rows.size() && (input.options & AUTO_CLOSE) == 0) {
            static int next = 1;
            number = next++;
            open_statements()[number] = std::move(statement);
            (*out)->continueInx = number;
        }
    }
} // namespace zone
