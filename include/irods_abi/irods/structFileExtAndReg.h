// SPDX-License-Identifier: BSD-3-Clause
// Argument of ibun -x: an archive and the collection it is unpacked into.
#ifndef IRODS_ABI_STRUCT_FILE_EXT_AND_REG_H
#define IRODS_ABI_STRUCT_FILE_EXT_AND_REG_H

#include "irods/objInfo.h"
#include "irods/rcConnect.h"

typedef struct StructFileExtAndRegInp {
    char objPath[MAX_NAME_LEN];
    char collection[MAX_NAME_LEN];
    int oprType;
    int flags;
    keyValPair_t condInput;
} structFileExtAndRegInp_t;

#endif // IRODS_ABI_STRUCT_FILE_EXT_AND_REG_H
