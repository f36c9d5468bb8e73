// SPDX-License-Identifier: BSD-3-Clause

#include "json.hpp"

#include "support.hpp"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace zone
{
    namespace
    {
        constexpr int deepest = 200;

        class Parser
        {
          public:
            explicit Parser(std::string_view text)
                : text_{text}
            {
            }

            Json document()
            {
                Json value = read_value(0);
                skip_space();
                if (at_ != text_.size()) {
                    fail("something follows the value");
                }
                return value;
            }

          private:
            std::string_view text_;
            std::size_t at_ = 0;

            [[noreturn]] void fail(const char* why) const
            {
                throw std::invalid_argument{"JSON: " + std::string{why} + " at byte " + std::to_string(at_)};
            }

            void skip_space()
            {
                while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
                    ++at_;
                }
            }

            bool take(std::string_view word)
            {
                if (text_.substr(at_, word.size()) != word) {
                    return false;
                }
                at_ += word.size();
                return true;
            }

            Json read_value(int depth)
            {
                if (depth > deepest) {
                    fail("nested too deeply");
                }
                skip_space();
                if (at_ >= text_.size()) {
                    fail("value missing");
                }
                switch (text_[at_]) {
                    case '{':
                        return read_object(depth);
                    case '[':
                        return read_array(depth);
                    case '"':
                        return Json{read_string()};
                    default:
                        break;
                }
                if (take("true")) {
                    return Json{true};
                }
                if (take("false")) {
                    return Json{false};
                }
                if (take("null")) {
                    return Json{};
                }
                return read_number();
            }

            Json read_object(int depth)
            {
                ++at_;
                Json object = Json::object();
                skip_space();
                if (take("}")) {
                    return object;
                }
                for (;;) {
                    skip_space();
                    if (at_ >= text_.size() || text_[at_] != '"') {
                        fail("name of a member missing");
                    }
                    const std::string key = read_string();
                    skip_space();
                    if (!take(":")) {
                        fail("':' missing");
                    }
                    object.set(key, read_value(depth + 1));
                    skip_space();
                    if (take("}")) {
                        return object;
                    }
                    if (!take(",")) {
                        fail("',' or '}' missing");
                    }
                }
            }

            Json read_array(int depth)
            {
                ++at_;
                Json array = Json::array();
                skip_space();
                if (take("]")) {
                    return array;
                }
                for (;;) {
                    array.push(read_value(depth + 1));
                    skip_space();
                    if (take("]")) {
                        return array;
                    }
                    if (!take(",")) {
                        fail("',' or ']' missing");
                    }
                }
            }

            Json read_number()
            {
                const auto start = at_;
                while (at_ < text_.size() && std::string_view{"+-.eE0123456789"}.find(text_[at_]) != std::string_view::npos) {
                    ++at_;
                }
                const std::string written{text_.substr(start, at_ - start)};
                char* end = nullptr;
                std::strtod(written.c_str(), &end);
                if (written.empty() || *end != '\0') {
                    at_ = start;
                    fail("not a value");
                }
                if (written.find_first_of(".eE") == std::string::npos) {
                    return Json{static_cast<std::int64_t>(std::strtoll(written.c_str(), nullptr, 10))};
                }
                return Json{static_cast<std::int64_t>(std::strtod(written.c_str(), nullptr))};
            }

            unsigned read_hex4()
            {
                if (at_ + 4 > text_.size()) {
                    fail("short \\u");
                }
                const std::string digits{text_.substr(at_, 4)};
                char* end = nullptr;
                const auto value = static_cast<unsigned>(std::strtoul(digits.c_str(), &end, 16));
                if (*end != '\0') {
                    fail("bad \\u");
                }
                at_ += 4;
                return value;
            }

            static void append_utf8(std::string& out, unsigned code)
            {
                if (code < 0x80) {
                    out += static_cast<char>(code);
                }
                else if (code < 0x800) {
                    out += static_cast<char>(0xC0U | (code >> 6U));
                    out += static_cast<char>(0x80U | (code & 0x3FU));
                }
                else if (code < 0x10000) {
                    out += static_cast<char>(0xE0U | (code >> 12U));
                    out += static_cast<char>(0x80U | ((code >> 6U) & 0x3FU));
                    out += static_cast<char>(0x80U | (code & 0x3FU));
                }
                else {
                    out += static_cast<char>(0xF0U | (code >> 18U));
                    out += static_cast<char>(0x80U | ((code >> 12U) & 0x3FU));
                    out += static_cast<char>(0x80U | ((code >> 6U) & 0x3FU));
                    out += static_cast<char>(0x80U | (code & 0x3FU));
                }
            }

            std::string read_string()
            {
                ++at_;
                std::string out;
                for (;;) {
                    if (at_ >= text_.size()) {
                        fail("string without end");
                    }
                    const char c = text_[at_++];
                    if (c == '"') {
                        return out;
                    }
                    if (static_cast<unsigned char>(c) < 0x20) {
                        fail("control character in a string");
                    }
                    if (c != '\\') {
                        out += c;
                        continue;
                    }
                    if (at_ >= text_.size()) {
                        fail("string without end");
                    }
                    switch (text_[at_++]) {
                        case '"': out += '"'; break;
                        case '\\': out += '\\'; break;
                        case '/': out += '/'; break;
                        case 'b': out += '\b'; break;
                        case 'f': out += '\f'; break;
                        case 'n': out += '\n'; break;
                        case 'r': out += '\r'; break;
                        case 't': out += '\t'; break;
                        case 'u': {
                            unsigned code = read_hex4();
                            if (code >= 0xD800 && code < 0xDC00) {
                                if (!take("\\u")) {
                                    fail("lone surrogate");
                                }
                                const unsigned low = read_hex4();
                                if (low < 0xDC00 || low > 0xDFFF) {
                                    fail("lone surrogate");
                                }
                                code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
                            }
                            append_utf8(out, code);
                            break;
                        }
                        default:
                            fail("unknown escape");
                    }
                }
            }
        };

        void dump_string(std::string& out, const std::string& text)
        {
            out += '"';
            for (const char c : text) {
                switch (c) {
                    case '"': out += "\\\""; break;
                    case '\\': out += "\\\\"; break;
                    case '\b': out += "\\b"; break;
                    case '\f': out += "\\f"; break;
                    case '\n': out += "\\n"; break;
                    case '\r': out += "\\r"; break;
                    case '\t': out += "\\t"; break;
                    default:
                        if (static_cast<unsigned char>(c) < 0x20) {
                            char escape[8];
                            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
                            out += escape;
                        }
                        else {
                            out += c;
                        }
                }
            }
            out += '"';
        }

        void dump_to(std::string& out, const Json& value)
        {
            switch (value.kind()) {
                case Json::Kind::null:
                    out += "null";
                    return;
                case Json::Kind::boolean:
                    out += value.as_bool() ? "true" : "false";
                    return;
                case Json::Kind::number:
                    out += std::to_string(value.as_integer());
                    return;
                case Json::Kind::string:
                    dump_string(out, value.as_string());
                    return;
                case Json::Kind::array: {
                    out += '[';
                    const char* separator = "";
                    for (const auto& element : value.elements()) {
                        out += separator;
                        dump_to(out, element);
                        separator = ",";
                    }
                    out += ']';
                    return;
                }
                case Json::Kind::object: {
                    out += '{';
                    const char* separator = "";
                    for (const auto& [key, member] : value.members()) {
                        out += separator;
                        dump_string(out, key);
                        out += ':';
                        dump_to(out, member);
                        separator = ",";
                    }
                    out += '}';
                    return;
                }
            }
        }

        [[noreturn]] void wrong_kind(const char* wanted)
        {
            throw std::invalid_argument{std::string{"JSON: expected "} + wanted};
        }
    } // namespace

    Json::Json(bool value)
        : kind_{Kind::boolean}
        , boolean_{value}
    {
    }

    Json::Json(int value)
        : Json{static_cast<std::int64_t>(value)}
    {
    }

    Json::Json(std::int64_t value)
        : kind_{Kind::number}
        , text_{std::to_string(value)}
    {
    }

    Json::Json(const char* value)
        : Json{std::string{value}}
    {
    }

    Json::Json(std::string value)
        : kind_{Kind::string}
        , text_{std::move(value)}
    {
    }

    Json::Json(Array value)
        : kind_{Kind::array}
        , elements_(std::move(value)) // braces would make a list of one
    {
    }

    Json Json::object(Object members)
    {
        Json value;
        value.kind_ = Kind::object;
        value.members_ = std::move(members);
        return value;
    }

    Json Json::array(Array elements)
    {
        return Json(std::move(elements));
    }

    Json Json::parse(std::string_view text)
    {
        return Parser{text}.document();
    }

    std::string Json::dump() const
    {
        std::string out;
        dump_to(out, *this);
        return out;
    }

    bool Json::is_utf8() const
    {
        switch (kind_) {
            case Kind::string:
                return zone::is_utf8(text_);
            case Kind::array:
                for (const auto& element : elements_) {
                    if (!element.is_utf8()) {
                        return false;
                    }
                }
                return true;
            case Kind::object:
                for (const auto& [key, member] : members_) {
                    if (!zone::is_utf8(key) || !member.is_utf8()) {
                        return false;
                    }
                }
                return true;
            default:
                return true;
        }
    }

    bool Json::as_bool() const
    {
        if (kind_ != Kind::boolean) {
            wrong_kind("true or false");
        }
        return boolean_;
    }

    std::int64_t Json::as_integer() const
    {
        if (kind_ != Kind::number) {
            wrong_kind("a number");
        }
        return std::strtoll(text_.c_str(), nullptr, 10);
    }

    const std::string& Json::as_string() const
    {
        if (kind_ != Kind::string) {
            wrong_kind("a string");
        }
        return text_;
    }

    const Json::Array& Json::elements() const
    {
        if (kind_ != Kind::array) {
            wrong_kind("an array");
        }
        return elements_;
    }

    const Json::Object& Json::members() const
    {
        if (kind_ != Kind::object) {
            wrong_kind("an object");
        }
        return members_;
    }

    const Json* Json::find(std::string_view key) const
    {
        for (const auto& [name, member] : members_) {
            if (name == key) {
                return &member;
            }
        }
        return nullptr;
    }

    void Json::set(const std::string& key, Json value)
    {
        for (auto& [name, member] : members_) {
            if (name == key) {
                member = std::move(value);
                return;
            }
        }
        members_.emplace_back(key, std::move(value));
    }

    void Json::push(Json value)
    {
        elements_.push_back(std::move(value));
    }
} // namespace zone
