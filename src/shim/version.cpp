// SPDX-License-Identifier: BSD-3-Clause
// Is this the server the plugin was built for? Told from the names of the server's own libraries, which end in its
// version (libirods_server.so.5.0.2), before any of its data is touched: a wrong layout would corrupt it.
#include "shim.hpp"

#include <irods/irods_version.h>

#include <link.h>

#include <cstring>
#include <initializer_list>

#define OMERO_STRING_OF(x) #x
#define OMERO_STRING(x) OMERO_STRING_OF(x)

namespace
{
    // Looks at one loaded library; ends the walk where its name tells the server's version.
    int look_at(dl_phdr_info* library, std::size_t, void* found)
    {
        const char* path = library->dlpi_name ? library->dlpi_name : "";
        const char* slash = std::strrchr(path, '/');
        const char* name = slash ? slash + 1 : path;
        for (const char* start : {"libirods_server.so.", "libirods_common.so."}) {
            const auto length = std::strlen(start);
            if (std::strncmp(name, start, length) == 0 && name[length] != '\0') {
                *static_cast<std::string*>(found) = name + length;
                return 1;
            }
        }
        return 0;
    }
} // namespace

namespace omero_shim
{
    const char* built_for()
    {
        return OMERO_STRING(IRODS_VERSION_MAJOR) "." OMERO_STRING(IRODS_VERSION_MINOR) "." OMERO_STRING(
            IRODS_VERSION_PATCHLEVEL);
    }

    std::string server_version()
    {
        std::string version;
        dl_iterate_phdr(look_at, &version);
        return version;
    }
} // namespace omero_shim
