// SPDX-License-Identifier: BSD-3-Clause
//
// What a user of GenQuery2 on 5.0.2 meets, and therefore meets here:
//   - Permission tables are joined to every query about data objects or collections, whether asked for or not.
//     An administrator's query therefore gives one row for each permission (and each member of a group that has
//     one): use `select distinct`, and do not trust count() without it. Without permissions at all, the left
//     joins still give one row.
//   - An ordinary user's conditions are followed by "and <permission>". An `or` that is not in parentheses
//     escapes from that.
//   - The create and modify times of AVUs are those of the row in R_META_MAIN, which all objects with the same
//     triple share and which outlives its last use. They do not tell since when an object has the AVU.
//   - Integer columns cannot be compared to text that is no integer, nor by `like`: the database refuses.
//   - `like` has the backslash as its escape character.

#include "genquery2.hpp"

#include "support.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <cstdint>
#include <map>
#include <optional>
#include <set>

namespace zone
{
    namespace
    {
        enum class Type
        {
            text,
            integer
        };

        struct Column
        {
            const char* table;
            const char* name;
            Type type = Type::text;
        };

        const std::map<std::string, Column>& columns()
        {
            constexpr auto integer = Type::integer;
            static const std::map<std::string, Column> all{
                {"ZONE_ID", {"R_ZONE_MAIN", "zone_id", integer}},
                {"ZONE_NAME", {"R_ZONE_MAIN", "zone_name"}},
                {"ZONE_TYPE", {"R_ZONE_MAIN", "zone_type_name"}},
                {"ZONE_CONNECTION", {"R_ZONE_MAIN", "zone_conn_string"}},
                {"ZONE_COMMENT", {"R_ZONE_MAIN", "r_comment"}},
                {"ZONE_CREATE_TIME", {"R_ZONE_MAIN", "create_ts"}},
                {"ZONE_MODIFY_TIME", {"R_ZONE_MAIN", "modify_ts"}},
                {"USER_ID", {"R_USER_MAIN", "user_id", integer}},
                {"USER_NAME", {"R_USER_MAIN", "user_name"}},
                {"USER_TYPE", {"R_USER_MAIN", "user_type_name"}},
                {"USER_ZONE", {"R_USER_MAIN", "zone_name"}},
                {"USER_INFO", {"R_USER_MAIN", "user_info"}},
                {"USER_COMMENT", {"R_USER_MAIN", "r_comment"}},
                {"USER_CREATE_TIME", {"R_USER_MAIN", "create_ts"}},
                {"USER_MODIFY_TIME", {"R_USER_MAIN", "modify_ts"}},
                {"USER_AUTH_ID", {"R_USER_AUTH", "user_id", integer}},
                {"USER_DN", {"R_USER_AUTH", "user_auth_name"}},
                {"RESC_ID", {"R_RESC_MAIN", "resc_id", integer}},
                {"RESC_NAME", {"R_RESC_MAIN", "resc_name"}},
                {"RESC_ZONE_NAME", {"R_RESC_MAIN", "zone_name"}},
                {"RESC_TYPE_NAME", {"R_RESC_MAIN", "resc_type_name"}},
                {"RESC_CLASS_NAME", {"R_RESC_MAIN", "resc_class_name"}},
                {"RESC_HOSTNAME", {"R_RESC_MAIN", "resc_net"}},
                {"RESC_VAULT_PATH", {"R_RESC_MAIN", "resc_def_path"}},
                {"RESC_FREE_SPACE", {"R_RESC_MAIN", "free_space"}},
                {"RESC_FREE_SPACE_TIME", {"R_RESC_MAIN", "free_space_ts"}},
                {"RESC_INFO", {"R_RESC_MAIN", "resc_info"}},
                {"RESC_COMMENT", {"R_RESC_MAIN", "r_comment"}},
                {"RESC_STATUS", {"R_RESC_MAIN", "resc_status"}},
                {"RESC_CREATE_TIME", {"R_RESC_MAIN", "create_ts"}},
                {"RESC_MODIFY_TIME", {"R_RESC_MAIN", "modify_ts"}},
                {"RESC_MODIFY_TIME_MILLIS", {"R_RESC_MAIN", "modify_ts_millis"}},
                {"RESC_CHILDREN", {"R_RESC_MAIN", "resc_children"}},
                {"RESC_CONTEXT", {"R_RESC_MAIN", "resc_context"}},
                {"RESC_PARENT_ID", {"R_RESC_MAIN", "resc_parent"}},
                {"RESC_PARENT_CONTEXT", {"R_RESC_MAIN", "resc_parent_context"}},
                {"DATA_ID", {"R_DATA_MAIN", "data_id", integer}},
                {"DATA_COLL_ID", {"R_DATA_MAIN", "coll_id", integer}},
                {"DATA_NAME", {"R_DATA_MAIN", "data_name"}},
                {"DATA_REPL_NUM", {"R_DATA_MAIN", "data_repl_num", integer}},
                {"DATA_VERSION", {"R_DATA_MAIN", "data_version"}},
                {"DATA_TYPE_NAME", {"R_DATA_MAIN", "data_type_name"}},
                {"DATA_SIZE", {"R_DATA_MAIN", "data_size", integer}},
                {"DATA_PATH", {"R_DATA_MAIN", "data_path"}},
                {"DATA_REPL_STATUS", {"R_DATA_MAIN", "data_is_dirty", integer}},
                {"DATA_STATUS", {"R_DATA_MAIN", "data_status"}},
                {"DATA_CHECKSUM", {"R_DATA_MAIN", "data_checksum"}},
                {"DATA_EXPIRY", {"R_DATA_MAIN", "data_expiry_ts"}},
                {"DATA_MAP_ID", {"R_DATA_MAIN", "data_map_id", integer}},
                {"DATA_COMMENTS", {"R_DATA_MAIN", "r_comment"}},
                {"DATA_ACCESS_TIME", {"R_DATA_MAIN", "access_ts"}},
                {"DATA_CREATE_TIME", {"R_DATA_MAIN", "create_ts"}},
                {"DATA_MODIFY_TIME", {"R_DATA_MAIN", "modify_ts"}},
                {"DATA_MODE", {"R_DATA_MAIN", "data_mode"}},
                {"DATA_RESC_ID", {"R_DATA_MAIN", "resc_id", integer}},
                {"DATA_RESC_HIER", {"", "hier"}},
                {"COLL_ID", {"R_COLL_MAIN", "coll_id", integer}},
                {"COLL_NAME", {"R_COLL_MAIN", "coll_name"}},
                {"COLL_PARENT_NAME", {"R_COLL_MAIN", "parent_coll_name"}},
                {"COLL_MAP_ID", {"R_COLL_MAIN", "coll_map_id", integer}},
                {"COLL_INHERITANCE", {"R_COLL_MAIN", "coll_inheritance"}},
                {"COLL_COMMENTS", {"R_COLL_MAIN", "r_comment"}},
                {"COLL_CREATE_TIME", {"R_COLL_MAIN", "create_ts"}},
                {"COLL_MODIFY_TIME", {"R_COLL_MAIN", "modify_ts"}},
                {"COLL_TYPE", {"R_COLL_MAIN", "coll_type"}},
                {"COLL_INFO1", {"R_COLL_MAIN", "coll_info1"}},
                {"COLL_INFO2", {"R_COLL_MAIN", "coll_info2"}},
                {"META_DATA_ATTR_NAME", {"R_META_MAIN", "meta_attr_name"}},
                {"META_DATA_ATTR_VALUE", {"R_META_MAIN", "meta_attr_value"}},
                {"META_DATA_ATTR_UNITS", {"R_META_MAIN", "meta_attr_unit"}},
                {"META_DATA_ATTR_ID", {"R_META_MAIN", "meta_id", integer}},
                {"META_DATA_CREATE_TIME", {"R_META_MAIN", "create_ts"}},
                {"META_DATA_MODIFY_TIME", {"R_META_MAIN", "modify_ts"}},
                {"META_COLL_ATTR_NAME", {"R_META_MAIN", "meta_attr_name"}},
                {"META_COLL_ATTR_VALUE", {"R_META_MAIN", "meta_attr_value"}},
                {"META_COLL_ATTR_UNITS", {"R_META_MAIN", "meta_attr_unit"}},
                {"META_COLL_ATTR_ID", {"R_META_MAIN", "meta_id", integer}},
                {"META_COLL_CREATE_TIME", {"R_META_MAIN", "create_ts"}},
                {"META_COLL_MODIFY_TIME", {"R_META_MAIN", "modify_ts"}},
                {"META_RESC_ATTR_NAME", {"R_META_MAIN", "meta_attr_name"}},
                {"META_RESC_ATTR_VALUE", {"R_META_MAIN", "meta_attr_value"}},
                {"META_RESC_ATTR_UNITS", {"R_META_MAIN", "meta_attr_unit"}},
                {"META_RESC_ATTR_ID", {"R_META_MAIN", "meta_id", integer}},
                {"META_RESC_CREATE_TIME", {"R_META_MAIN", "create_ts"}},
                {"META_RESC_MODIFY_TIME", {"R_META_MAIN", "modify_ts"}},
                {"META_USER_ATTR_NAME", {"R_META_MAIN", "meta_attr_name"}},
                {"META_USER_ATTR_VALUE", {"R_META_MAIN", "meta_attr_value"}},
                {"META_USER_ATTR_UNITS", {"R_META_MAIN", "meta_attr_unit"}},
                {"META_USER_ATTR_ID", {"R_META_MAIN", "meta_id", integer}},
                {"META_USER_CREATE_TIME", {"R_META_MAIN", "create_ts"}},
                {"META_USER_MODIFY_TIME", {"R_META_MAIN", "modify_ts"}},
                {"GROUP_ID", {"R_USER_GROUP", "group_user_id", integer}},
                {"GROUP_MEMBER_ID", {"R_USER_GROUP", "user_id", integer}},
                {"DELAY_RULE_ID", {"R_RULE_EXEC", "rule_exec_id", integer}},
                {"DELAY_RULE_NAME", {"R_RULE_EXEC", "rule_name"}},
                {"DELAY_RULE_REI_FILE_PATH", {"R_RULE_EXEC", "rei_file_path"}},
                {"DELAY_RULE_USER_NAME", {"R_RULE_EXEC", "user_name"}},
                {"DELAY_RULE_EXE_ADDRESS", {"R_RULE_EXEC", "exe_address"}},
                {"DELAY_RULE_EXE_TIME", {"R_RULE_EXEC", "exe_time"}},
                {"DELAY_RULE_EXE_FREQUENCY", {"R_RULE_EXEC", "exe_frequency"}},
                {"DELAY_RULE_PRIORITY", {"R_RULE_EXEC", "priority"}},
                {"DELAY_RULE_ESTIMATED_EXE_TIME", {"R_RULE_EXEC", "estimated_exe_time"}},
                {"DELAY_RULE_NOTIFICATION_ADDR", {"R_RULE_EXEC", "notification_addr"}},
                {"DELAY_RULE_LAST_EXE_TIME", {"R_RULE_EXEC", "last_exe_time"}},
                {"DELAY_RULE_STATUS", {"R_RULE_EXEC", "exe_status"}},
                {"DELAY_RULE_LOCK_HOST", {"R_RULE_EXEC", "lock_host"}},
                {"DELAY_RULE_LOCK_HOST_PID", {"R_RULE_EXEC", "lock_host_pid"}},
                {"DELAY_RULE_LOCK_TIME", {"R_RULE_EXEC", "lock_ts"}},
                {"DATA_ACCESS_PERM_ID", {"R_OBJT_ACCESS", "access_type_id", integer}},
                {"DATA_ACCESS_PERM_NAME", {"R_TOKN_MAIN", "token_name"}},
                {"DATA_ACCESS_USER_ID", {"R_OBJT_ACCESS", "user_id", integer}},
                {"DATA_ACCESS_USER_NAME", {"R_USER_MAIN", "user_name"}},
                {"DATA_ACCESS_USER_ZONE", {"R_USER_MAIN", "zone_name"}},
                {"COLL_ACCESS_PERM_ID", {"R_OBJT_ACCESS", "access_type_id", integer}},
                {"COLL_ACCESS_PERM_NAME", {"R_TOKN_MAIN", "token_name"}},
                {"COLL_ACCESS_USER_ID", {"R_OBJT_ACCESS", "user_id", integer}},
                {"COLL_ACCESS_USER_NAME", {"R_USER_MAIN", "user_name"}},
                {"COLL_ACCESS_USER_ZONE", {"R_USER_MAIN", "zone_name"}},
            };
            return all;
        }

        // Which tables can be joined to which, without a table in between.
        struct Edge
        {
            const char* left;
            const char* right;
            const char* left_column;
            const char* right_column;
        };
        constexpr Edge edges[] = {
            {"R_COLL_MAIN", "R_DATA_MAIN", "coll_id", "coll_id"},
            {"R_DATA_MAIN", "R_RESC_MAIN", "resc_id", "resc_id"},
            {"R_USER_MAIN", "R_USER_AUTH", "user_id", "user_id"},
            {"R_USER_MAIN", "R_USER_GROUP", "user_id", "group_user_id"},
        };

        [[noreturn]] void refuse_syntax(const std::string& why)
        {
            throw Failure{SYS_LIBRARY_ERROR, "GenQuery2: " + why};
        }

        [[noreturn]] void refuse_meaning(const std::string& why)
        {
            throw Failure{SYS_INVALID_INPUT_PARAM, "GenQuery2: " + why};
        }

        // ---- words -------------------------------------------------------------------------------------------

        struct Token
        {
            enum Kind
            {
                word,
                literal,
                number,
                sign,
                end
            };
            Kind kind = end;
            std::string text; // words keep their spelling
            std::string upper;
        };

        class Lexer
        {
          public:
            explicit Lexer(const std::string& text)
                : text_{text}
            {
            }

            Token next()
            {
                while (at_ < text_.size() && std::strchr(" \t\n", text_[at_]) != nullptr) {
                    ++at_;
                }
                if (at_ >= text_.size()) {
                    return {};
                }
                const char c = text_[at_];
                if (c == '\'') {
                    return {Token::literal, read_literal(), {}};
                }
                if (is_letter(c)) {
                    return read_word();
                }
                if (is_digit(c) || (c == '-' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]))) {
                    const auto start = at_++;
                    while (at_ < text_.size() && is_digit(text_[at_])) {
                        ++at_;
                    }
                    return {Token::number, text_.substr(start, at_ - start), {}};
                }
                for (const char* sign : {"!=", "<>", "<=", ">=", "=", "<", ">", ",", "(", ")"}) {
                    if (text_.compare(at_, std::strlen(sign), sign) == 0) {
                        at_ += std::strlen(sign);
                        return {Token::sign, std::string{sign} == "<>" ? "!=" : sign, {}};
                    }
                }
                refuse_syntax("invalid character at position " + std::to_string(at_ + 1));
            }

          private:
            const std::string& text_;
            std::size_t at_ = 0;

            static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
            static bool is_digit(char c) { return c >= '0' && c <= '9'; }

            Token read_word()
            {
                const auto start = at_;
                while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]) || text_[at_] == '_')) {
                    ++at_;
                }
                Token token{Token::word, text_.substr(start, at_ - start), {}};
                for (const char c : token.text) {
                    token.upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
                }
                return token;
            }

            // '' stands for a quote, \xHH for a byte; every other backslash for itself.
            std::string read_literal()
            {
                std::string literal;
                ++at_;
                for (;;) {
                    if (at_ >= text_.size()) {
                        refuse_syntax("missing closing single quote");
                    }
                    if (text_.compare(at_, 2, "''") == 0) {
                        literal += '\'';
                        at_ += 2;
                    }
                    else if (text_[at_] == '\'') {
                        ++at_;
                        return literal;
                    }
                    else if (text_.compare(at_, 2, "\\x") == 0 && at_ + 4 <= text_.size() && is_hex(text_[at_ + 2]) &&
                             is_hex(text_[at_ + 3])) {
                        literal += from_hex(text_.substr(at_ + 2, 2));
                        at_ += 4;
                    }
                    else {
                        literal += text_[at_++];
                    }
                }
            }

            static bool is_hex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }
        };

        // ---- sentence to SQL ---------------------------------------------------------------------------------

        // Whether an expression has aggregated rows or stands for a column of each row, and its type.
        struct Expression
        {
            std::string sql;
            Type type = Type::text;
            bool aggregate = false;
            bool constant = false;
        };

        class Generator
        {
          public:
            Generator(const std::string& query, const Actor& actor)
                : lexer_{query}
                , actor_{actor}
            {
                advance();
            }

            GeneratedSql generate()
            {
                expect_word("SELECT");
                const bool distinct = take_word("DISTINCT");
                std::vector<Expression> projections{expression(true)};
                while (take_sign(",")) {
                    projections.push_back(expression(true));
                }
                std::string conditions;
                if (take_word("WHERE")) {
                    conditions = disjunction();
                }
                std::vector<Expression> groups;
                if (take_word("GROUP")) {
                    expect_word("BY");
                    do {
                        if (token_.kind != Token::word) {
                            refuse_syntax("column missing in group by");
                        }
                        groups.push_back(known_column(take().text));
                    } while (take_sign(","));
                }
                std::string order;
                std::string limit = "256";
                std::string offset;
                const bool order_first = token_.upper == "ORDER";
                if (order_first) {
                    order = order_by(projections, distinct);
                }
                range(limit, offset);
                if (!order_first && token_.upper == "ORDER") {
                    order = order_by(projections, distinct);
                }
                if (token_.kind != Token::end) {
                    refuse_syntax("unexpected [" + token_.text + "]");
                }
                if (!unknown_.empty()) {
                    refuse_meaning(unknown_);
                }
                require_grouping(projections, groups);
                return assemble(distinct, projections, conditions, groups, order, limit, offset);
            }

          private:
            Lexer lexer_;
            const Actor& actor_;
            Token token_;
            std::vector<std::string> tables_; // in order of appearance
            std::map<std::string, std::string> aliases_;
            std::set<std::string> metadata_of_; // "D", "C", "R", "U"
            bool needs_hierarchy_ = false;
            std::vector<Value> values_;
            std::string unknown_; // the first name without meaning; told only of a sentence without mistakes

            // -- reading --

            Token take()
            {
                Token token = std::move(token_);
                advance();
                return token;
            }

            void advance() { token_ = lexer_.next(); }

            bool take_word(const char* word)
            {
                if (token_.kind != Token::word || token_.upper != word) {
                    return false;
                }
                advance();
                return true;
            }

            void expect_word(const char* word)
            {
                if (!take_word(word)) {
                    refuse_syntax("expected [" + std::string{word} + "], not [" + token_.text + "]");
                }
            }

            bool take_sign(const char* sign)
            {
                if (token_.kind != Token::sign || token_.text != sign) {
                    return false;
                }
                advance();
                return true;
            }

            void expect_sign(const char* sign)
            {
                if (!take_sign(sign)) {
                    refuse_syntax("expected [" + std::string{sign} + "], not [" + token_.text + "]");
                }
            }

            std::string literal()
            {
                if (token_.kind != Token::literal) {
                    refuse_syntax("expected a string in single quotes, not [" + token_.text + "]");
                }
                return take().text;
            }

            std::string count_of_rows()
            {
                if (token_.kind != Token::number || token_.text[0] == '-') {
                    refuse_syntax("expected a number of rows");
                }
                return take().text;
            }

            // -- expressions --

            static bool is_keyword(const std::string& upper)
            {
                static const std::set<std::string> all{
                    "SELECT", "WHERE", "LIKE", "IN", "BETWEEN", "DISTINCT", "ORDER", "BY", "ASC", "DESC", "OFFSET",
                    "LIMIT", "FETCH", "FIRST", "ROWS", "ONLY", "CASE", "WHEN", "ELSE", "END", "GROUP", "HAVING",
                    "EXISTS", "IS", "NULL", "NOT", "AND", "OR", "CAST", "AS"};
                return all.count(upper) != 0;
            }

            Expression expression(bool in_select)
            {
                if (take_word("CAST")) {
                    return cast();
                }
                if (token_.kind != Token::word || is_keyword(token_.upper)) {
                    refuse_syntax("expected a column, not [" + token_.text + "]");
                }
                const Token name = take();
                if (take_sign("(")) {
                    return function(name, in_select);
                }
                return column(name.text);
            }

            Expression cast()
            {
                expect_sign("(");
                Expression inner = column(take().text);
                expect_word("AS");
                if (token_.kind != Token::word) {
                    refuse_syntax("type missing in cast");
                }
                Token type = take();
                std::string written = type.text;
                if (take_sign("(")) {
                    written += "(" + count_of_rows() + ")";
                    expect_sign(")");
                }
                expect_sign(")");
                const bool integer = type.upper.find("INT") != std::string::npos;
                return {"cast(" + inner.sql + " as " + written + ")", integer ? Type::integer : Type::text, false, false};
            }

            Expression function(const Token& name, bool in_select)
            {
                const bool distinct = take_word("DISTINCT");
                if (distinct && !in_select) {
                    refuse_meaning("DISTINCT in a function is for the select clause");
                }
                std::string arguments;
                Expression first;
                const char* separator = "";
                bool aggregate_inside = false;
                bool constant = true;
                while (!take_sign(")")) {
                    if (*separator != '\0') {
                        expect_sign(",");
                    }
                    Expression argument;
                    if (token_.kind == Token::literal) {
                        argument = {quoted(take().text), Type::text, false, true};
                    }
                    else if (token_.kind == Token::number) {
                        argument = {take().text, Type::integer, false, true};
                    }
                    else {
                        argument = expression(in_select);
                    }
                    if (*separator == '\0') {
                        first = argument;
                    }
                    aggregate_inside = aggregate_inside || argument.aggregate;
                    constant = constant && argument.constant;
                    arguments += separator + argument.sql;
                    separator = ", ";
                }
                const std::string& upper = name.upper;
                const bool counts = upper == "COUNT";
                const bool sums = upper == "SUM" || upper == "AVG";
                if (sums && first.type == Type::text) {
                    refuse_syntax("function " + name.text + "(character varying) does not exist");
                }
                const bool aggregate = counts || sums || upper == "MAX" || upper == "MIN";
                Expression result;
                result.sql = name.text + "(" + (distinct ? "distinct " : "") + arguments + ")";
                result.type = counts || sums ? Type::integer : (aggregate ? first.type : Type::text);
                result.aggregate = aggregate || aggregate_inside;
                result.constant = constant && !aggregate;
                return result;
            }

            static std::string quoted(const std::string& text)
            {
                std::string out = "'";
                for (const char c : text) {
                    out += c;
                    if (c == '\'') {
                        out += c;
                    }
                }
                return out + "'";
            }

            const Column& find(const std::string& name)
            {
                const auto found = columns().find(name);
                if (found == columns().end()) {
                    unknown_ = unknown_.empty() ? "unknown column: " + name : unknown_;
                    return columns().at("ZONE_NAME");
                }
                return found->second;
            }

            // Joins what the column needs, and names it.
            Expression column(const std::string& name)
            {
                const Column& found = find(name);
                const auto special = special_alias(name);
                if (!special) {
                    use_table(found.table);
                    return {aliases_.at(found.table) + "." + found.name, found.type, false, false};
                }
                if (starts_with(name, "META_")) {
                    metadata_of_.insert(name.substr(5, 1));
                    use_table(owner_of_metadata(name[5]));
                }
                else if (name == "DATA_RESC_HIER") {
                    needs_hierarchy_ = true;
                    use_table("R_RESC_MAIN");
                }
                else {
                    use_table(name[0] == 'D' ? "R_DATA_MAIN" : "R_COLL_MAIN");
                }
                return {*special + "." + found.name, found.type, false, false};
            }

            // In group by and order by a column must already be in the query.
            Expression known_column(const std::string& name)
            {
                const Column& found = find(name);
                const auto special = special_alias(name);
                if (special) {
                    return {*special + "." + found.name, found.type, false, false};
                }
                const auto alias = aliases_.find(found.table);
                if (alias == aliases_.end()) {
                    unknown_ = unknown_.empty() ? "column " + name + " is of a table that is not selected from" : unknown_;
                    return {found.name, found.type, false, false};
                }
                return {alias->second + "." + found.name, found.type, false, false};
            }

            static const char* owner_of_metadata(char kind)
            {
                switch (kind) {
                    case 'D':
                        return "R_DATA_MAIN";
                    case 'C':
                        return "R_COLL_MAIN";
                    case 'R':
                        return "R_RESC_MAIN";
                    default:
                        return "R_USER_MAIN";
                }
            }

            // The fixed names of tables that are joined without being asked for.
            static std::optional<std::string> special_alias(const std::string& name)
            {
                if (starts_with(name, "META_D")) {
                    return "mmd";
                }
                if (starts_with(name, "META_C")) {
                    return "mmc";
                }
                if (starts_with(name, "META_R")) {
                    return "mmr";
                }
                if (starts_with(name, "META_U")) {
                    return "mmu";
                }
                if (name == "DATA_RESC_HIER") {
                    return "cte_drh";
                }
                if (name == "DATA_ACCESS_TIME") {
                    return std::nullopt;
                }
                for (const char* kind : {"DATA_ACCESS_", "COLL_ACCESS_"}) {
                    if (starts_with(name, kind)) {
                        const std::string prefix = kind[0] == 'D' ? "pd" : "pc";
                        const std::string rest = name.substr(std::strlen(kind));
                        if (rest == "PERM_NAME") {
                            return prefix + "t";
                        }
                        if (rest == "USER_NAME" || rest == "USER_ZONE") {
                            return prefix + "u";
                        }
                        return prefix + "oa";
                    }
                }
                return std::nullopt;
            }

            void use_table(const std::string& table)
            {
                if (aliases_.count(table) == 0) {
                    aliases_[table] = "t" + std::to_string(tables_.size());
                    tables_.push_back(table);
                }
            }

            // -- conditions: or binds weakest, not strongest --

            std::string disjunction()
            {
                std::string sql = conjunction();
                while (take_word("OR")) {
                    sql += " or " + conjunction();
                }
                return sql;
            }

            std::string conjunction()
            {
                std::string sql = negation();
                while (take_word("AND")) {
                    sql += " and " + negation();
                }
                return sql;
            }

            std::string negation()
            {
                if (take_word("NOT")) {
                    return "not " + negation();
                }
                if (take_sign("(")) {
                    std::string inner = disjunction();
                    expect_sign(")");
                    return "(" + inner + ")";
                }
                return condition();
            }

            std::string condition()
            {
                const Expression left = expression(false);
                if (left.aggregate) {
                    refuse_syntax("aggregate functions are not allowed in WHERE");
                }
                if (take_word("IS")) {
                    const bool negated = take_word("NOT");
                    expect_word("NULL");
                    return left.sql + (negated ? " is not null" : " is null");
                }
                const std::string negated = take_word("NOT") ? " not" : "";
                if (take_word("LIKE")) {
                    if (left.type == Type::integer) {
                        refuse_syntax("operator does not exist: bigint ~~ text");
                    }
                    bind(literal(), Type::text);
                    return left.sql + negated + " like ? escape '\\'";
                }
                if (take_word("IN")) {
                    expect_sign("(");
                    bind(literal(), left.type);
                    std::string marks = "?";
                    while (take_sign(",")) {
                        bind(literal(), left.type);
                        marks += ", ?";
                    }
                    expect_sign(")");
                    return left.sql + negated + " in (" + marks + ")";
                }
                if (take_word("BETWEEN")) {
                    bind(literal(), left.type);
                    expect_word("AND");
                    bind(literal(), left.type);
                    return left.sql + negated + " between ? and ?";
                }
                if (!negated.empty()) {
                    refuse_syntax("unexpected [not]");
                }
                for (const char* comparison : {"=", "!=", "<", "<=", ">", ">="}) {
                    if (take_sign(comparison)) {
                        bind(literal(), left.type);
                        return left.sql + " " + comparison + " ?";
                    }
                }
                refuse_syntax("expected a comparison, not [" + token_.text + "]");
            }

            void bind(const std::string& text, Type type)
            {
                if (type == Type::text) {
                    values_.emplace_back(text);
                    return;
                }
                std::size_t used = 0;
                try {
                    values_.emplace_back(static_cast<std::int64_t>(std::stoll(text, &used)));
                }
                catch (const std::exception&) {
                    used = std::string::npos;
                }
                if (used != text.size()) {
                    refuse_syntax("invalid input syntax for type bigint: \"" + text + "\"");
                }
            }

            // -- what follows the conditions --

            Expression sort_expression()
            {
                if (take_word("CAST")) {
                    return cast();
                }
                if (token_.kind != Token::word || is_keyword(token_.upper)) {
                    refuse_syntax("expected a column in order by, not [" + token_.text + "]");
                }
                const Token name = take();
                return take_sign("(") ? function(name, false) : known_column(name.text);
            }

            std::string order_by(const std::vector<Expression>& projections, bool distinct)
            {
                expect_word("ORDER");
                expect_word("BY");
                std::string sql;
                const char* separator = " order by ";
                do {
                    const Expression key = sort_expression();
                    const bool selected = std::any_of(projections.begin(), projections.end(),
                                                      [&key](const Expression& e) { return e.sql == key.sql; });
                    if (distinct && !selected) {
                        refuse_syntax("for SELECT DISTINCT, ORDER BY expressions must appear in select list");
                    }
                    std::string direction = " asc";
                    if (take_word("DESC")) {
                        direction = " desc";
                    }
                    else {
                        take_word("ASC");
                    }
                    sql += separator + key.sql + direction;
                    separator = ", ";
                } while (take_sign(","));
                return sql;
            }

            void range(std::string& limit, std::string& offset)
            {
                for (int part = 0; part < 2; ++part) {
                    if (offset.empty() && take_word("OFFSET")) {
                        offset = count_of_rows();
                    }
                    else if (take_word("LIMIT")) {
                        limit = count_of_rows();
                    }
                    else if (take_word("FETCH")) {
                        expect_word("FIRST");
                        limit = count_of_rows();
                        expect_word("ROWS");
                        expect_word("ONLY");
                    }
                }
            }

            static void require_grouping(const std::vector<Expression>& projections, const std::vector<Expression>& groups)
            {
                const bool aggregates = std::any_of(projections.begin(), projections.end(),
                                                    [](const Expression& e) { return e.aggregate; });
                if (!aggregates && groups.empty()) {
                    return;
                }
                for (const auto& projection : projections) {
                    const bool grouped = std::any_of(groups.begin(), groups.end(),
                                                     [&projection](const Expression& e) { return e.sql == projection.sql; });
                    if (!projection.aggregate && !projection.constant && !grouped) {
                        refuse_syntax("column [" + projection.sql +
                                      "] must appear in the GROUP BY clause or be used in an aggregate function");
                    }
                }
            }

            // -- assembling --

            std::string inner_joins() const
            {
                std::string sql;
                std::vector<std::string> joined{tables_.front()};
                std::vector<std::string> remaining(tables_.begin() + 1, tables_.end());
                // From the table joined last, to everything still missing that it touches; as often as there are tables.
                for (std::size_t round = 0; round + 1 < tables_.size(); ++round) {
                    const std::string last = joined.back();
                    for (auto table = remaining.begin(); table != remaining.end();) {
                        const auto on = join_condition(last, *table);
                        if (!on) {
                            ++table;
                            continue;
                        }
                        sql += " inner join " + *table + " " + aliases_.at(*table) + " on " + *on;
                        joined.push_back(*table);
                        table = remaining.erase(table);
                    }
                }
                if (!remaining.empty()) {
                    refuse_meaning("[" + remaining.front() + "] cannot be joined to the other tables of the query");
                }
                return sql;
            }

            std::optional<std::string> join_condition(const std::string& one, const std::string& other) const
            {
                for (const auto& edge : edges) {
                    if ((one == edge.left && other == edge.right) || (one == edge.right && other == edge.left)) {
                        return aliases_.at(edge.left) + "." + edge.left_column + " = " + aliases_.at(edge.right) + "." +
                               edge.right_column;
                    }
                }
                return std::nullopt;
            }

            // The row of a permission, of its name, of the members of the group that has it, and of those as users.
            std::string permission_joins(const std::string& alias, const char* id, const std::string& p) const
            {
                const std::string kind = actor_.privileged ? " left join " : " inner join ";
                return kind + "R_OBJT_ACCESS " + p + "oa on " + alias + "." + id + " = " + p + "oa.object_id" + kind +
                       "R_TOKN_MAIN " + p + "t on " + p + "oa.access_type_id = " + p + "t.token_id" + kind + "R_USER_GROUP " +
                       p + "ug on " + p + "oa.user_id = " + p + "ug.group_user_id" + kind + "R_USER_MAIN " + p + "u on " + p +
                       "ug.user_id = " + p + "u.user_id";
            }

            std::string metadata_joins(const char* kind, const char* suffix, const char* table, const char* id) const
            {
                if (metadata_of_.count(kind) == 0) {
                    return "";
                }
                const std::string map = std::string{"omm"} + suffix;
                const std::string meta = std::string{"mm"} + suffix;
                return " left join R_OBJT_METAMAP " + map + " on " + aliases_.at(table) + "." + id + " = " + map +
                       ".object_id left join R_META_MAIN " + meta + " on " + map + ".meta_id = " + meta + ".meta_id";
            }

            std::string permission_condition(const std::string& p)
            {
                values_.emplace_back(actor_.name);
                values_.emplace_back(actor_.zone);
                return p + "u.user_name = ? and " + p + "u.zone_name = ? and " + p + "u.user_type_name != 'rodsgroup' and " + p +
                       "oa.access_type_id >= 1050";
            }

            GeneratedSql assemble(bool distinct, const std::vector<Expression>& projections, const std::string& conditions,
                                  const std::vector<Expression>& groups, const std::string& order, const std::string& limit,
                                  const std::string& offset)
            {
                if (tables_.empty()) {
                    refuse_meaning("no columns selected");
                }
                std::string sql;
                if (needs_hierarchy_) {
                    sql = "with recursive cte_drh as (select resc_id, resc_name hier, case when resc_parent = '' then 0 else"
                          " cast(resc_parent as bigint) end parent_id from R_RESC_MAIN where resc_id > 0 union all"
                          " select cte_drh.resc_id, U.resc_name || ';' || cte_drh.hier, case when U.resc_parent = '' then 0 else"
                          " cast(U.resc_parent as bigint) end from cte_drh inner join R_RESC_MAIN U on U.resc_id = cte_drh.parent_id) ";
                }
                sql += distinct ? "select distinct " : "select ";
                const char* separator = "";
                for (const auto& projection : projections) {
                    sql += separator + projection.sql;
                    separator = ", ";
                }
                sql += " from " + tables_.front() + " " + aliases_.at(tables_.front());
                sql += inner_joins();
                const bool data = aliases_.count("R_DATA_MAIN") != 0;
                const bool collections = aliases_.count("R_COLL_MAIN") != 0;
                if (data) {
                    sql += permission_joins(aliases_.at("R_DATA_MAIN"), "data_id", "pd");
                }
                if (collections) {
                    sql += permission_joins(aliases_.at("R_COLL_MAIN"), "coll_id", "pc");
                }
                sql += metadata_joins("D", "d", "R_DATA_MAIN", "data_id");
                sql += metadata_joins("C", "c", "R_COLL_MAIN", "coll_id");
                sql += metadata_joins("R", "r", "R_RESC_MAIN", "resc_id");
                sql += metadata_joins("U", "u", "R_USER_MAIN", "user_id");
                if (needs_hierarchy_) {
                    sql += " inner join cte_drh on cte_drh.resc_id = " + aliases_.at("R_RESC_MAIN") + ".resc_id";
                }
                std::string where = conditions;
                const auto add = [&where](const std::string& condition) {
                    where += (where.empty() ? "" : " and ") + condition;
                };
                if (!actor_.privileged && data) {
                    add(permission_condition("pd"));
                }
                if (!actor_.privileged && collections) {
                    add(permission_condition("pc"));
                }
                if (!where.empty()) {
                    sql += " where " + where;
                }
                separator = " group by ";
                for (const auto& group : groups) {
                    sql += separator + group.sql;
                    separator = ", ";
                }
                sql += order + " limit " + limit + (offset.empty() ? "" : " offset " + offset);
                return {sql, std::move(values_)};
            }
        };
    } // namespace

    GeneratedSql genquery2_to_sql(const std::string& query, const Actor& actor)
    {
        return Generator{query, actor}.generate();
    }

    Json genquery2(Catalog& catalog, const std::string& query, const Actor& actor)
    {
        const GeneratedSql generated = genquery2_to_sql(query, actor);
        Json rows = Json::array();
        try {
            catalog.database().query(generated.sql, generated.values, [&rows](const Row& row) {
                Json cells = Json::array();
                for (int column = 0; column < row.columns(); ++column) {
                    cells.push(Json{row.text(column)});
                }
                rows.push(std::move(cells));
            });
        }
        catch (const Failure& failure) {
            throw Failure{SYS_LIBRARY_ERROR, failure.what()};
        }
        return rows;
    }

    std::vector<std::string> genquery2_columns()
    {
        std::vector<std::string> names;
        for (const auto& [name, column] : columns()) {
            names.push_back(name);
        }
        return names;
    }
} // namespace zone
