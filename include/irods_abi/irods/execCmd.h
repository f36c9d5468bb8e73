// SPDX-License-Identifier: BSD-3-Clause
// What the `ruleExecOut` parameter holds: the text an irule client prints.
#ifndef IRODS_ABI_EXEC_CMD_H
#define IRODS_ABI_EXEC_CMD_H

#include "irods/dataObjInpOut.h"

typedef struct ExecCmdOut {
    bytesBuf_t stdoutBuf;
    bytesBuf_t stderrBuf;
    int status;
} execCmdOut_t;

#endif // IRODS_ABI_EXEC_CMD_H
