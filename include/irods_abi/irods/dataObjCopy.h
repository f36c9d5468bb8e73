// SPDX-License-Identifier: BSD-3-Clause
// Argument of copy and rename.
#ifndef IRODS_ABI_DATA_OBJ_COPY_H
#define IRODS_ABI_DATA_OBJ_COPY_H

#include "irods/dataObjInpOut.h"
#include "irods/objInfo.h"
#include "irods/rcConnect.h"

typedef struct DataObjCopyInp {
    dataObjInp_t srcDataObjInp;
    dataObjInp_t destDataObjInp;
} dataObjCopyInp_t;

#endif // IRODS_ABI_DATA_OBJ_COPY_H
