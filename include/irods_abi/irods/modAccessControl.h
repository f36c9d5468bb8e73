// SPDX-License-Identifier: BSD-3-Clause
// Argument of ichmod. The struct has no tag in iRODS, so its RTTI name is the typedef's.
#ifndef IRODS_ABI_MOD_ACCESS_CONTROL_H
#define IRODS_ABI_MOD_ACCESS_CONTROL_H

#include "irods/rcConnect.h"

// Prefixes of accessLevel: the path names a resource; act with an administrator's rights.
#define MOD_RESC_PREFIX "resource:"
#define MOD_ADMIN_MODE_PREFIX "admin:"

typedef struct {
    int recursiveFlag;
    char* accessLevel;
    char* userName;
    char* zone;
    char* path;
} modAccessControlInp_t;

#endif // IRODS_ABI_MOD_ACCESS_CONTROL_H
