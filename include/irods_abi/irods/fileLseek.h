// SPDX-License-Identifier: BSD-3-Clause
// Result of a seek.
#ifndef IRODS_ABI_FILE_LSEEK_H
#define IRODS_ABI_FILE_LSEEK_H

#include "irods/rodsType.h"

typedef struct FileLseekOut {
    rodsLong_t offset;
} fileLseekOut_t;

#endif // IRODS_ABI_FILE_LSEEK_H
