// SPDX-License-Identifier: BSD-3-Clause
// What server code throws. Catch it by reference (or as std::exception); the server defines its members.
#ifndef IRODS_ABI_IRODS_EXCEPTION_HPP
#define IRODS_ABI_IRODS_EXCEPTION_HPP

#include "irods/irods_stacktrace.hpp"

#include <boost/format.hpp>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace irods_abi
{
    struct layout; // the compile-time check in tests/abi
}

namespace irods
{
    class exception : public std::exception
    {
      public:
        exception(const std::int64_t code,
                  const std::string& message,
                  const std::string& file_name,
                  const std::uint32_t line_number,
                  const std::string& function_name);
        exception(const exception&);
        virtual ~exception() noexcept;

        virtual const char* what() const noexcept;
        virtual const char* client_display_what() const noexcept;

        std::int64_t code() const { return code_; }

      private:
        friend struct ::irods_abi::layout;

        std::int64_t code_;
        std::vector<std::string> message_stack_;
        std::uint32_t line_number_;
        std::string function_name_;
        std::string file_name_;
        irods::stacktrace stacktrace_;
        mutable std::string what_;
    };
} // namespace irods

#endif // IRODS_ABI_IRODS_EXCEPTION_HPP
