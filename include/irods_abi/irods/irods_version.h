// SPDX-License-Identifier: BSD-3-Clause
// The version of the server whose interface is declared here. The layouts are those of both versions; what
// differs is what the server calls (4.3 knows no setup and teardown).
#ifndef IRODS_ABI_IRODS_VERSION_H
#define IRODS_ABI_IRODS_VERSION_H

#ifdef OMERO_FOR_IRODS_4_3
#  define IRODS_VERSION_MAJOR 4
#  define IRODS_VERSION_MINOR 3
#  define IRODS_VERSION_PATCHLEVEL 5
#else
#  define IRODS_VERSION_MAJOR 5
#  define IRODS_VERSION_MINOR 0
#  define IRODS_VERSION_PATCHLEVEL 2
#endif

#endif // IRODS_ABI_IRODS_VERSION_H
