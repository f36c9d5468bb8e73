// SPDX-License-Identifier: BSD-3-Clause
// Argument of irule.
#ifndef IRODS_ABI_EXEC_MY_RULE_H
#define IRODS_ABI_EXEC_MY_RULE_H

#include "irods/msParam.h"
#include "irods/objInfo.h"
#include "irods/rcConnect.h"
#include "irods/rodsDef.h"

typedef struct ExecMyRuleInp {
    char myRule[META_STR_LEN];
    rodsHostAddr_t addr;
    keyValPair_t condInput;
    char outParamDesc[LONG_NAME_LEN];
    msParamArray_t* inpParamArray;
} execMyRuleInp_t;

#endif // IRODS_ABI_EXEC_MY_RULE_H
