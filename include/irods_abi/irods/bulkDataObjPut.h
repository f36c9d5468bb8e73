// SPDX-License-Identifier: BSD-3-Clause
// Argument of the bulk put: one collection, many files in `attriArray` (COL_DATA_NAME and offsets).
#ifndef IRODS_ABI_BULK_DATA_OBJ_PUT_H
#define IRODS_ABI_BULK_DATA_OBJ_PUT_H

#include "irods/rcConnect.h"
#include "irods/rodsDef.h"
#include "irods/rodsGenQuery.h"

typedef struct BulkOperationInp {
    char objPath[MAX_NAME_LEN];
    genQueryOut_t attriArray;
    keyValPair_t condInput;
} bulkOprInp_t;

#endif // IRODS_ABI_BULK_DATA_OBJ_PUT_H
