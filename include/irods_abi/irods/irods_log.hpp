// SPDX-License-Identifier: BSD-3-Clause
// Logging of results.
#ifndef IRODS_ABI_IRODS_LOG_HPP
#define IRODS_ABI_IRODS_LOG_HPP

#include "irods/irods_error.hpp"
#include "irods/irods_exception.hpp"
#include "irods/rodsLog.h"

#include <string>

namespace irods
{
    void log(const error&);
    void log(int, const std::string&);
    void log(int, const char*);
    void log(const irods::exception&);
} // namespace irods

#endif // IRODS_ABI_IRODS_LOG_HPP
