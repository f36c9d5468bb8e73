// SPDX-License-Identifier: BSD-3-Clause
// An empty member of irods::exception.
#ifndef IRODS_ABI_IRODS_STACKTRACE_HPP
#define IRODS_ABI_IRODS_STACKTRACE_HPP

#include <string>

namespace irods
{
    class stacktrace final
    {
      public:
        std::string dump() const;
    };
} // namespace irods

#endif // IRODS_ABI_IRODS_STACKTRACE_HPP
