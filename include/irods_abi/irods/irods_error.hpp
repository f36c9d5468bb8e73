// SPDX-License-Identifier: BSD-3-Clause
// The result of every operation: a flag, a code and a history. Constructors, assignment and destructor
// are the server's, so that the history keeps its format.
#ifndef IRODS_ABI_IRODS_ERROR_HPP
#define IRODS_ABI_IRODS_ERROR_HPP

#include "irods/irods_exception.hpp"
#include "irods/rodsType.h"

#include <boost/format.hpp>
#include <boost/optional.hpp>

#include <string>
#include <vector>

namespace irods
{
    class error
    {
      public:
        error();
        error(bool status, long long code, std::string message, std::string file, int line, std::string function);
        error(bool status, long long code, boost::format message, std::string file, int line, std::string function);
        error(bool status,
              long long code,
              std::string message,
              std::string file,
              int line,
              std::string function,
              const error& previous);
        error(std::string message, std::string file, int line, std::string function, const error& previous);
        error(const error&);
        error(const exception&);
        ~error();
        error& operator=(const error&);

        bool status() const { return status_; }
        long long code() const { return code_; }
        bool ok() { return status_; }
        bool ok() const { return status_; }
        std::string result() const;

        void code(long long code) { code_ = code; }
        void status(bool status) { status_ = status; }
        void message(const std::string& message) { message_ = message; }

      private:
        friend struct ::irods_abi::layout;

        bool status_;
        long long code_;
        std::string message_;
        std::vector<std::string> result_stack_;
        boost::optional<exception> exception_;
    };
} // namespace irods

#define ERROR(code_, message_) (irods::error(false, code_, message_, __FILE__, __LINE__, __PRETTY_FUNCTION__))
#define PASS(previous_) (irods::error("", __FILE__, __LINE__, __PRETTY_FUNCTION__, previous_))
#define PASSMSG(message_, previous_) (irods::error(message_, __FILE__, __LINE__, __PRETTY_FUNCTION__, previous_))
#define CODE(code_) (irods::error(true, code_, "", __FILE__, __LINE__, __PRETTY_FUNCTION__))
#define SUCCESS() (irods::error(true, 0, "", __FILE__, __LINE__, __PRETTY_FUNCTION__))

#endif // IRODS_ABI_IRODS_ERROR_HPP
