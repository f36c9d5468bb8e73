// SPDX-License-Identifier: BSD-3-Clause

#include "support.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>

namespace zone
{
    namespace
    {
        [[noreturn]] void fail_with_errno(int base_code, const char* act, const std::string& path)
        {
            const int number = errno;
            throw Failure{base_code - number, std::string{act} + " [" + path + "]: " + std::strerror(number)};
        }

        constexpr int unix_file_write_err = -513000;
        constexpr int unix_file_read_err = -514000;
        constexpr int unix_file_mkdir_err = -520000;
        constexpr int unix_file_opendir_err = -522000;
        constexpr int unix_file_rename_err = -528000;

        class Descriptor
        {
          public:
            Descriptor(const std::string& path, int flags, int mode = 0600)
                : fd_{::open(path.c_str(), flags | O_CLOEXEC, mode)}
            {
                if (fd_ < 0) {
                    fail_with_errno(UNIX_FILE_OPEN_ERR, "open", path);
                }
            }
            ~Descriptor() { ::close(fd_); }
            Descriptor(const Descriptor&) = delete;
            Descriptor& operator=(const Descriptor&) = delete;
            int get() const { return fd_; }

          private:
            int fd_;
        };

        void write_all(int fd, std::string_view bytes, const std::string& path)
        {
            while (!bytes.empty()) {
                const auto written = ::write(fd, bytes.data(), bytes.size());
                if (written < 0) {
                    if (errno == EINTR) {
                        continue;
                    }
                    fail_with_errno(unix_file_write_err, "write", path);
                }
                bytes.remove_prefix(static_cast<std::size_t>(written));
            }
        }
    } // namespace

    std::string error_name(int code)
    {
        // clang-format off
        static const std::map<int, const char*> names{
#define ZONE_NAME(x) {x, #x}
            ZONE_NAME(SYS_USER_NOT_ALLOWED_TO_CONN), ZONE_NAME(SYS_NO_API_PRIV), ZONE_NAME(SYS_FILE_DESC_OUT_OF_RANGE),
            ZONE_NAME(SYS_INVALID_FILE_PATH), ZONE_NAME(SYS_COPY_ALREADY_IN_RESC), ZONE_NAME(SYS_NOT_SUPPORTED),
            ZONE_NAME(SYS_RESC_DOES_NOT_EXIST), ZONE_NAME(PATH_REG_NOT_ALLOWED), ZONE_NAME(SYS_INVALID_INPUT_PARAM),
            ZONE_NAME(SYS_INTERNAL_ERR), ZONE_NAME(SYS_REPLICA_DOES_NOT_EXIST), ZONE_NAME(SYS_UNKNOWN_ERROR),
            ZONE_NAME(SYS_LIBRARY_ERROR), ZONE_NAME(NOT_A_COLLECTION), ZONE_NAME(NOT_A_DATA_OBJECT),
            ZONE_NAME(JSON_VALIDATION_ERROR), ZONE_NAME(CONFIGURATION_ERROR), ZONE_NAME(USER_STRLEN_TOOLONG),
            ZONE_NAME(USER_PACKSTRUCT_INPUT_ERR), ZONE_NAME(USER_FILE_DOES_NOT_EXIST),
            ZONE_NAME(OVERWRITE_WITHOUT_FORCE_FLAG), ZONE_NAME(USER_INPUT_PATH_ERR), ZONE_NAME(USER_PARAM_TYPE_ERR),
            ZONE_NAME(SAME_SRC_DEST_PATHS_ERR), ZONE_NAME(BAD_INPUT_DESC_INDEX), ZONE_NAME(CANT_RM_NON_EMPTY_HOME_COLL), ZONE_NAME(CANT_UNREG_IN_VAULT_FILE),
            ZONE_NAME(OBJ_PATH_DOES_NOT_EXIST), ZONE_NAME(USER_INCOMPATIBLE_PARAMS), ZONE_NAME(INTERMEDIATE_REPLICA_ACCESS),
            ZONE_NAME(LOCKED_DATA_OBJECT_ACCESS), ZONE_NAME(UNIX_FILE_OPEN_ERR), ZONE_NAME(UNIX_FILE_UNLINK_ERR),
            ZONE_NAME(UNIX_FILE_STAT_ERR), ZONE_NAME(CAT_SQL_ERR), ZONE_NAME(CAT_NO_ROWS_FOUND),
            ZONE_NAME(CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME), ZONE_NAME(CAT_UNKNOWN_COLLECTION),
            ZONE_NAME(CAT_INVALID_ARGUMENT), ZONE_NAME(CAT_UNKNOWN_FILE), ZONE_NAME(CAT_NO_ACCESS_PERMISSION),
            ZONE_NAME(CAT_COLLECTION_NOT_EMPTY), ZONE_NAME(CAT_UNKNOWN_TABLE), ZONE_NAME(CAT_INVALID_USER),
            ZONE_NAME(CAT_INSUFFICIENT_PRIVILEGE_LEVEL), ZONE_NAME(CAT_INVALID_RESOURCE),
            ZONE_NAME(CAT_NAME_EXISTS_AS_COLLECTION), ZONE_NAME(CAT_NAME_EXISTS_AS_DATAOBJ), ZONE_NAME(CAT_LAST_REPLICA),
            ZONE_NAME(NO_RULE_FOUND_ERR), ZONE_NAME(NO_MICROSERVICE_FOUND_ERR), ZONE_NAME(INVALID_OBJECT_NAME),
            ZONE_NAME(INVALID_OBJECT_TYPE), ZONE_NAME(RE_UNSUPPORTED_SESSION_VAR), ZONE_NAME(RE_TYPE_ERROR),
            ZONE_NAME(KEY_NOT_FOUND), ZONE_NAME(HIERARCHY_ERROR), ZONE_NAME(PLUGIN_ERROR), ZONE_NAME(INVALID_OPERATION),
            ZONE_NAME(DIRECT_CHILD_ACCESS), ZONE_NAME(INVALID_ANY_CAST), ZONE_NAME(RULE_ENGINE_ERROR),
            ZONE_NAME(SYS_NO_HANDLER_REPLY_MSG)};
#undef ZONE_NAME
        // clang-format on
        const auto exact = names.find(code);
        if (exact != names.end()) {
            return exact->second;
        }
        const auto base = names.find(code / 1000 * 1000);
        return base != names.end() ? base->second : "";
    }

    std::string catalog_time(std::int64_t seconds)
    {
        char text[32];
        std::snprintf(text, sizeof text, "%011lld", static_cast<long long>(seconds));
        return text;
    }

    std::string catalog_now()
    {
        return catalog_time(std::time(nullptr));
    }

    std::string parent_of(const std::string& path)
    {
        const auto slash = path.rfind('/');
        if (slash == std::string::npos || slash == 0) {
            return "/";
        }
        return path.substr(0, slash);
    }

    std::string name_of(const std::string& path)
    {
        const auto slash = path.rfind('/');
        return slash == std::string::npos ? path : path.substr(slash + 1);
    }

    std::string join(const std::string& parent, const std::string& name)
    {
        return parent == "/" ? parent + name : parent + "/" + name;
    }

    bool is_below(const std::string& path, const std::string& ancestor)
    {
        return path.size() > ancestor.size() && starts_with(path, ancestor) &&
               (ancestor == "/" || path[ancestor.size()] == '/');
    }

    bool starts_with(std::string_view text, std::string_view prefix)
    {
        return text.substr(0, prefix.size()) == prefix;
    }

    std::vector<std::string> split(const std::string& text, char separator)
    {
        std::vector<std::string> parts;
        std::size_t start = 0;
        for (;;) {
            const auto end = text.find(separator, start);
            parts.push_back(text.substr(start, end - start));
            if (end == std::string::npos) {
                return parts;
            }
            start = end + 1;
        }
    }

    bool is_utf8(std::string_view text)
    {
        std::size_t i = 0;
        while (i < text.size()) {
            const auto lead = static_cast<unsigned char>(text[i]);
            std::size_t extra = 0;
            std::uint32_t value = lead;
            std::uint32_t least = 0;
            if (lead >= 0xF0 && lead < 0xF8) {
                extra = 3;
                value = lead & 0x07U;
                least = 0x10000;
            }
            else if (lead >= 0xE0 && lead < 0xF0) {
                extra = 2;
                value = lead & 0x0FU;
                least = 0x800;
            }
            else if (lead >= 0xC0 && lead < 0xE0) {
                extra = 1;
                value = lead & 0x1FU;
                least = 0x80;
            }
            else if (lead >= 0x80) {
                return false;
            }
            if (i + extra >= text.size()) {
                return false;
            }
            for (std::size_t k = 1; k <= extra; ++k) {
                const auto byte = static_cast<unsigned char>(text[i + k]);
                if ((byte & 0xC0U) != 0x80U) {
                    return false;
                }
                value = (value << 6U) | (byte & 0x3FU);
            }
            if (value < least || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
                return false;
            }
            i += extra + 1;
        }
        return true;
    }

    std::string to_hex(std::string_view bytes)
    {
        static const char* const digits = "0123456789abcdef";
        std::string hex;
        for (const char c : bytes) {
            const auto byte = static_cast<unsigned char>(c);
            hex += digits[byte >> 4U];
            hex += digits[byte & 15U];
        }
        return hex;
    }

    std::string from_hex(const std::string& hex)
    {
        const auto digit = [](char c) -> unsigned {
            if (c >= '0' && c <= '9') {
                return static_cast<unsigned>(c - '0');
            }
            if (c >= 'a' && c <= 'f') {
                return static_cast<unsigned>(c - 'a' + 10);
            }
            if (c >= 'A' && c <= 'F') {
                return static_cast<unsigned>(c - 'A' + 10);
            }
            throw std::invalid_argument{"not a hexadecimal digit"};
        };
        if (hex.size() % 2 != 0) {
            throw std::invalid_argument{"odd number of hexadecimal digits"};
        }
        std::string bytes;
        for (std::size_t i = 0; i < hex.size(); i += 2) {
            bytes += static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1]));
        }
        return bytes;
    }

    std::string read_file(const std::string& path)
    {
        const Descriptor file{path, O_RDONLY};
        std::string bytes;
        char buffer[65536];
        for (;;) {
            const auto got = ::read(file.get(), buffer, sizeof buffer);
            if (got < 0) {
                if (errno == EINTR) {
                    continue;
                }
                fail_with_errno(unix_file_read_err, "read", path);
            }
            if (got == 0) {
                return bytes;
            }
            bytes.append(buffer, static_cast<std::size_t>(got));
        }
    }

    void write_file(const std::string& path, std::string_view bytes)
    {
        const Descriptor file{path, O_WRONLY | O_CREAT | O_TRUNC};
        write_all(file.get(), bytes, path);
    }

    void append_line(const std::string& path, const std::string& line)
    {
        const Descriptor file{path, O_WRONLY | O_CREAT | O_APPEND};
        write_all(file.get(), line + "\n", path);
    }

    void make_directories(const std::string& path)
    {
        if (path.empty() || file_exists(path)) {
            return;
        }
        const auto slash = path.rfind('/');
        if (slash != std::string::npos && slash > 0) {
            make_directories(path.substr(0, slash));
        }
        if (::mkdir(path.c_str(), 0750) != 0 && errno != EEXIST) {
            fail_with_errno(unix_file_mkdir_err, "mkdir", path);
        }
    }

    bool file_exists(const std::string& path)
    {
        struct stat info;
        return ::stat(path.c_str(), &info) == 0;
    }

    std::int64_t file_size(const std::string& path)
    {
        struct stat info;
        return ::stat(path.c_str(), &info) == 0 ? info.st_size : -1;
    }

    void copy_file(const std::string& from, const std::string& to)
    {
        const Descriptor source{from, O_RDONLY};
        const Descriptor target{to, O_WRONLY | O_CREAT | O_TRUNC};
        std::vector<char> buffer(1U << 20U);
        for (;;) {
            const auto got = ::read(source.get(), buffer.data(), buffer.size());
            if (got < 0) {
                if (errno == EINTR) {
                    continue;
                }
                fail_with_errno(unix_file_read_err, "read", from);
            }
            if (got == 0) {
                return;
            }
            write_all(target.get(), {buffer.data(), static_cast<std::size_t>(got)}, to);
        }
    }

    void remove_file(const std::string& path)
    {
        if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
            fail_with_errno(UNIX_FILE_UNLINK_ERR, "unlink", path);
        }
    }

    void rename_file(const std::string& from, const std::string& to)
    {
        make_directories(parent_of(to));
        if (::rename(from.c_str(), to.c_str()) != 0) {
            fail_with_errno(unix_file_rename_err, "rename", from);
        }
    }

    std::vector<DirectoryEntry> list_directory(const std::string& path)
    {
        DIR* directory = ::opendir(path.c_str());
        if (directory == nullptr) {
            fail_with_errno(unix_file_opendir_err, "opendir", path);
        }
        std::vector<DirectoryEntry> entries;
        while (const dirent* entry = ::readdir(directory)) {
            const std::string name{entry->d_name};
            if (name == "." || name == "..") {
                continue;
            }
            struct stat info;
            if (::stat(join(path, name).c_str(), &info) == 0) {
                entries.push_back({name, S_ISDIR(info.st_mode)});
            }
        }
        ::closedir(directory);
        std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
        return entries;
    }
} // namespace zone
