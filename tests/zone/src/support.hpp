// SPDX-License-Identifier: BSD-3-Clause
// What every part of the zone uses: failures with iRODS codes, time as the catalog writes it, paths as
// bytes, files.
#ifndef ZONE_SUPPORT_HPP
#define ZONE_SUPPORT_HPP

#include "irods/rodsErrorTable.h"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace zone
{
    // An operation that ends with an iRODS error code. Never leaves through a plugin: the exported functions
    // and the verbs turn it into its code.
    class Failure : public std::runtime_error
    {
      public:
        Failure(int code, const std::string& message)
            : std::runtime_error{message}
            , code_{code}
        {
        }
        int code() const { return code_; }

      private:
        int code_;
    };

    // The name of an error code, e.g. "CAT_NO_ACCESS_PERMISSION", sub-code ignored; "" if not ours.
    std::string error_name(int code);

    // Seconds since the epoch, as the catalog keeps times: eleven digits, zero-padded.
    std::string catalog_time(std::int64_t seconds);
    std::string catalog_now();

    // Logical paths are bytes; "/" separates, nothing else has a meaning.
    std::string parent_of(const std::string& path);
    std::string name_of(const std::string& path);
    std::string join(const std::string& parent, const std::string& name);
    bool is_below(const std::string& path, const std::string& ancestor);
    bool starts_with(std::string_view text, std::string_view prefix);
    std::vector<std::string> split(const std::string& text, char separator);

    bool is_utf8(std::string_view text);
    std::string to_hex(std::string_view bytes);
    std::string from_hex(const std::string& hex); // throws std::invalid_argument

    // Local files. All throw Failure with a UNIX_FILE_* code, errno subtracted as iRODS does.
    std::string read_file(const std::string& path);
    void write_file(const std::string& path, std::string_view bytes);
    void append_line(const std::string& path, const std::string& line); // one write(2): lines stay whole
    void make_directories(const std::string& path);
    bool file_exists(const std::string& path);
    std::int64_t file_size(const std::string& path); // -1 if there is none
    void copy_file(const std::string& from, const std::string& to);
    void remove_file(const std::string& path); // no failure if there is none
    void rename_file(const std::string& from, const std::string& to);
    struct DirectoryEntry
    {
        std::string name;
        bool is_directory;
    };
    std::vector<DirectoryEntry> list_directory(const std::string& path); // sorted by name

    // Copies into a fixed array of a C structure, cut if need be, always terminated.
    template <std::size_t N>
    void copy_to(char (&target)[N], std::string_view text)
    {
        const std::size_t length = text.size() < N - 1 ? text.size() : N - 1;
        text.copy(target, length);
        target[length] = '\0';
    }
} // namespace zone

#endif // ZONE_SUPPORT_HPP
