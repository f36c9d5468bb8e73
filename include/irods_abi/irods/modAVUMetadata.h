// SPDX-License-Identifier: BSD-3-Clause
// Argument of the classic metadata call.
#ifndef IRODS_ABI_MOD_AVU_METADATA_H
#define IRODS_ABI_MOD_AVU_METADATA_H

#include "irods/objInfo.h"

// arg0 add|adda|addw|set|rm|rmw|rmi|mod|cp, arg1 -d|-C|-u|-R, arg2 name, arg3..5 attribute, value,
// units, arg6..8 the new ones of mod. Absent ones are null or "". For `cp`, arg1 and arg2 are the two
// types, arg3 and arg4 the two names.
typedef struct ModifyAVUMetadataInput {
    char* arg0;
    char* arg1;
    char* arg2;
    char* arg3;
    char* arg4;
    char* arg5;
    char* arg6;
    char* arg7;
    char* arg8;
    char* arg9;
    struct KeyValPair condInput;
} modAVUMetadataInp_t;

#endif // IRODS_ABI_MOD_AVU_METADATA_H
