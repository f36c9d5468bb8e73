// SPDX-License-Identifier: BSD-3-Clause
// What is changed of a replica in the catalog.
#ifndef IRODS_ABI_MOD_DATA_OBJ_META_H
#define IRODS_ABI_MOD_DATA_OBJ_META_H

#include "irods/objInfo.h"

typedef struct ModDataObjMetaInp {
    struct DataObjInfo* dataObjInfo;
    struct KeyValPair* regParam;
} modDataObjMeta_t;

#endif // IRODS_ABI_MOD_DATA_OBJ_META_H
