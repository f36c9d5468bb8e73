// SPDX-License-Identifier: BSD-3-Clause
// Integer and object kinds.
#ifndef IRODS_ABI_RODS_TYPE_H
#define IRODS_ABI_RODS_TYPE_H

#include "irods/rodsDef.h"

typedef long long rodsLong_t;

typedef enum ObjectType {
    UNKNOWN_OBJ_T,
    DATA_OBJ_T,
    COLL_OBJ_T,
    UNKNOWN_FILE_T,
    LOCAL_FILE_T,
    LOCAL_DIR_T,
    NO_INPUT_T
} objType_t;

#endif // IRODS_ABI_RODS_TYPE_H
