// SPDX-License-Identifier: BSD-3-Clause
// A job for the delay queue.
#ifndef IRODS_ABI_RULE_EXEC_SUBMIT_H
#define IRODS_ABI_RULE_EXEC_SUBMIT_H

#include "irods/objInfo.h"

struct BytesBuf;

typedef struct RuleExecSubmitInput {
    char ruleName[META_STR_LEN]; // the text; the catalog keeps at most 2,700 bytes of it
    char reiFilePath[MAX_NAME_LEN];
    char userName[NAME_LEN];
    char exeAddress[NAME_LEN];
    char exeTime[TIME_LEN];
    char exeFrequency[NAME_LEN];
    char priority[NAME_LEN];
    char lastExecTime[NAME_LEN];
    char exeStatus[NAME_LEN];
    char estimateExeTime[NAME_LEN];
    char notificationAddr[NAME_LEN];
    keyValPair_t condInput;
    struct BytesBuf* packedReiAndArgBBuf;
    char ruleExecId[NAME_LEN];
} ruleExecSubmitInp_t;

#endif // IRODS_ABI_RULE_EXEC_SUBMIT_H
