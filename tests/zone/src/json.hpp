// SPDX-License-Identifier: BSD-3-Clause
// JSON, as much as a server meets: configuration, API buffers, script lines. Strings are bytes; whether they
// are UTF-8 is asked only where the real server asks.
#ifndef ZONE_JSON_HPP
#define ZONE_JSON_HPP

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zone
{
    class Json
    {
      public:
        enum class Kind
        {
            null,
            boolean,
            number,
            string,
            array,
            object
        };
        using Array = std::vector<Json>;
        using Object = std::vector<std::pair<std::string, Json>>;

        Json() = default;
        Json(bool value);
        Json(int value);
        Json(std::int64_t value);
        Json(const char* value);
        Json(std::string value);
        Json(Array value);
        static Json object(Object members = {});
        static Json array(Array elements = {});

        // Throws std::invalid_argument with the offset of what could not be read.
        static Json parse(std::string_view text);
        // Bytes of strings are written as they are, except quotes, backslashes and control characters.
        std::string dump() const;
        // True if every string in it is UTF-8: what the real server's JSON library demands to write it.
        bool is_utf8() const;

        Kind kind() const { return kind_; }
        bool is_null() const { return kind_ == Kind::null; }
        bool is_string() const { return kind_ == Kind::string; }
        bool is_object() const { return kind_ == Kind::object; }
        bool is_array() const { return kind_ == Kind::array; }

        // These throw std::invalid_argument if the kind is another.
        bool as_bool() const;
        std::int64_t as_integer() const;
        const std::string& as_string() const;
        const Array& elements() const;
        const Object& members() const;

        // Null where absent or not an object.
        const Json* find(std::string_view key) const;
        void set(const std::string& key, Json value);
        void push(Json value);

      private:
        Kind kind_ = Kind::null;
        bool boolean_ = false;
        std::string text_; // of a string, or a number as written
        Array elements_;
        Object members_;
    };
} // namespace zone

#endif // ZONE_JSON_HPP
