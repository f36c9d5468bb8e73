// SPDX-License-Identifier: BSD-3-Clause
// Where the server keeps its configuration.
#ifndef IRODS_ABI_IRODS_DEFAULT_PATHS_HPP
#define IRODS_ABI_IRODS_DEFAULT_PATHS_HPP

#include <boost/filesystem/path.hpp>

namespace irods
{
    boost::filesystem::path get_irods_config_directory();
} // namespace irods

#endif // IRODS_ABI_IRODS_DEFAULT_PATHS_HPP
